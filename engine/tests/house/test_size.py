"""The engine may only get smaller: every line of it is a burden to each project."""

from __future__ import annotations

from pathlib import Path

LIMIT = 29_900  # lines of Python in engine/src without the extras, which a project may leave out


def test_the_engine_without_its_extras_keeps_its_size(root: Path) -> None:
    package = root / "engine" / "src" / "sluice"
    files = [path for path in package.rglob("*.py") if package / "extras" not in path.parents]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert 20_000 < lines <= LIMIT
