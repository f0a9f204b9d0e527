"""What extras declare is there, and the rest of the engine stands without them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.extras import FOLDER, Extra, extras, load
from sluice.template.cuts import cut
from sluice.template.extras import TESTS, with_dependents

EXTRAS = sorted(extras())
# Written for the whole engine: what of it runs without an extra is seen by `make test-extras`.
MARKS = ("engine/tests", "engine/benchmarks", "engine/scripts", "pipelines", "loadtest", "src")
# It has something in a part of another, where that one is there.
LOOKS_FOR = {"hosted": ("redteam",)}


@pytest.fixture(params=EXTRAS)
def named(request: pytest.FixtureRequest) -> tuple[str, Extra]:
    return request.param, extras()[request.param]


def imported(path: Path) -> Iterator[str]:
    """Names of extras that a module imports, functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            for package in ("sluice.extras.", "unit.extras."):
                if module.startswith(package):
                    yield module.removeprefix(package).partition(".")[0]


def test_every_folder_is_an_extra(root: Path) -> None:
    folders = {path.name for path in (root / FOLDER).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(EXTRAS)


def test_what_it_refers_to_is_there(named: tuple[str, Extra]) -> None:
    name, extra = named
    for reference in (extra.commands, *extra.hooks.values(), *extra.parameters.values()):
        beside = {file for files in extra.shared.values() for file in files if not Path(file).exists()}
        if f"{FOLDER}/{name}/{reference.partition(':')[0]}.py" not in beside:
            assert not reference or load(name, reference)


def test_its_files_are_there(root: Path, named: tuple[str, Extra]) -> None:
    _, extra = named
    shared = [file for other, files in extra.shared.items() if other in EXTRAS for file in files]
    assert [file for file in (*extra.files, *shared) if not (root / file).exists()] == []


def test_its_entries_and_lines_are_there(root: Path, named: tuple[str, Extra]) -> None:
    """Where a file of several extras is gone with one of them, so is the entry."""
    _, extra = named
    there = {path: (root / path).read_text() for path in {**extra.entries, **extra.lines} if (root / path).is_file()}
    entries = [(path, steps) for path, text in there.items() for steps in extra.entries.get(path, ())]
    assert [(path, steps) for path, steps in entries if cut(there[path], steps) == there[path]] == []
    lines = [(path, words) for path in there for words in extra.lines.get(path, ())]
    assert [(path, words) for path, words in lines if words not in there[path]] == []


def test_another_takes_no_part_of_it_along(root: Path, named: tuple[str, Extra]) -> None:
    """What it cuts out of a file is there without any other extra, but for one that it needs, or looks for."""
    name, extra = named
    others = {one: other for one, other in extras().items() if name not in with_dependents([one])}
    looks_for = {one for one in others if f'HERE / "{one}"' in (root / FOLDER / name / "extra.py").read_text()}
    assert looks_for == set(LOOKS_FOR.get(name, ())) & others.keys()
    for path, parts in extra.entries.items():
        taken = {steps for one in others.keys() - looks_for for steps in others[one].entries.get(path, ())}
        assert not [steps for steps in parts if any(f"{steps} > ".startswith(f"{one} > ") for one in taken)], path
    for path, words in extra.lines.items():
        lines = (root / path).read_text().splitlines() if (root / path).is_file() else []
        for other in others.values():
            taken = set(other.lines.get(path, ()))
            left = [line for line in lines if not any(one in line for one in taken)]
            assert [one for one in words if lines and not any(one in line for line in left)] == [], path


def test_it_imports_the_extras_that_it_needs_and_no_other(root: Path, named: tuple[str, Extra]) -> None:
    name, extra = named
    beside = {root / file: other for other, files in extra.shared.items() for file in files}
    for path in sorted([*(root / FOLDER / name).rglob("*.py"), *(root / TESTS / name).rglob("*.py")]):
        allowed = {name, *extra.needs, beside.get(path, name)}
        allowed |= {other for one in extra.needs for other in extras()[one].needs}
        assert set(imported(path)) <= allowed, path


def test_nothing_else_imports_an_extra(root: Path, tracked: list[str]) -> None:
    own = {file: name for name, extra in extras().items() for file in extra.files}
    strangers = {}
    for path in tracked:
        if path.endswith(".py") and path.startswith(MARKS) and not path.startswith((TESTS, FOLDER)):
            owner = next((name for file, name in own.items() if path == file or path.startswith(f"{file}/")), "")
            found = set(imported(root / path)) - {owner, *(extras()[owner].needs if owner else ())}
            if found:
                strangers[path] = sorted(found)
    assert strangers == {}
