from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.extras import EXTRAS, FOLDER, load, with_dependents

TESTS = "engine/tests/unit/extras"
MARKS = ("engine/src", "loadtest", "src")
# It looks at the part `doctor`, which calls it; where that is off, nothing imports it.
BESIDE_DOCTOR = {f"{FOLDER}/{name}/doctor.py" for name in ("hosted", "sagemaker", "upgrade")}


def imported(path: Path) -> Iterator[str]:
    """Names of parts that a module imports, functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            if module.startswith("sluice.extras."):
                yield module.removeprefix("sluice.extras.").partition(".")[0]


def test_every_folder_is_a_part(root: Path) -> None:
    folders = {path.parent.name for path in (root / FOLDER).glob("*/__init__.py")}
    assert folders == set(EXTRAS)


@pytest.mark.parametrize("name", EXTRAS)
def test_what_it_refers_to_is_there(name: str) -> None:
    extra = EXTRAS[name]
    for reference in filter(None, (extra.commands, *extra.hooks.values(), *extra.parameters.values())):
        assert load(name, reference)


def test_a_part_imports_those_that_it_needs_and_the_rest_imports_none(root: Path, tracked: list[str]) -> None:
    strangers = {}
    for path in tracked:
        if path.endswith(".py") and path.startswith(MARKS) and (root / path).is_file():
            owner = path.removeprefix(f"{FOLDER}/").partition("/")[0] if path.startswith(f"{FOLDER}/") else ""
            needed = {name for name in EXTRAS if owner in with_dependents({name})}
            found = set(imported(root / path)) - needed - ({"doctor"} if path in BESIDE_DOCTOR else set())
            if found:
                strangers[path] = sorted(found)
    assert strangers == {}
