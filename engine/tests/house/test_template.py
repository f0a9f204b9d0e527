from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.project import load_project
from sluice.template.owned import OWNED, read_list
from starter_files import ROOT, STARTER

PROJECT = load_project(ROOT / "config")
pytestmark = pytest.mark.skipif(PROJECT.template is not None or bool(PROJECT.without), reason="a project may grow")


def test_a_project_owns_few_files_and_little_python(root: Path, tracked: list[str]) -> None:
    engine = {*read_list(root, OWNED), "data.dvc"}
    yours = [path for path in tracked if not path.startswith(("engine/", "dvc-store/")) and path not in engine]
    assert len(yours) <= 150
    assert sum((root / path).read_text().count("\n") for path in yours if path.endswith(".py")) <= 1_000


def test_the_copy_is_what_a_project_starts_with(root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "engine/scripts/write_starter.py", str(tmp_path / "new")], cwd=root, check=True)

    def files(folder: Path) -> dict[str, str]:
        found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)): path.read_text() for path in found}

    assert files(tmp_path / "new") == files(STARTER), "run engine/scripts/write_starter.py"
