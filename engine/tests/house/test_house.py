from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from sluice.core.extras import EXTRAS, FOLDER, HERE, load, with_dependents

# With a blank in place of each dot.
_HOSTS = (
    "pypi org", "pythonhosted org", "npmjs org", "npmjs com", "deb debian org", "archive ubuntu com",
    "download pytorch org", "anaconda org", "crates io", "proxy golang org",
)  # fmt: skip
HOSTS = "|".join(re.escape(name.replace(" ", ".")) for name in _HOSTS)
FOLDERS = ("wo" + "rk", "ro" + "ot", "tmp/" + "wt")
MACHINE = r"(?<![\w.$}~/-])/(?:" + "|".join(FOLDERS) + r")/"
MARKERS = r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b"


def places(texts: dict[str, str], pattern: str) -> list[str]:
    return [
        f"{name}:{number}: {found[0]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.search(pattern, line))
    ]


# PyPI's torch for Linux is made for a GPU; only PyTorch's own index has the build for GitHub's runners.
CPU_INDEX = [".github/actions/setup/action.yml", " download." + "pytorch.org"]


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ("no host of a package registry", HOSTS),
        ("no path of one machine", MACHINE),
        ("no open end", MARKERS),
    ],
)
def test_no_tracked_file_holds(texts: dict[str, str], rule: str, pattern: str) -> None:
    assert not [place for place in places(texts, pattern) if place.split(":")[0::2] != CPU_INDEX], rule


def layers(root: Path) -> list[str]:
    contracts = tomllib.loads((root / "engine" / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    return [name.strip(" ()") for line in lines for name in line.replace(":", "|").split("|")]


def test_every_part_of_the_package_has_its_layer(root: Path) -> None:
    package = root / "engine" / "src" / "sluice"
    parts = {f"sluice.{file.stem}" for file in package.glob("*.py") if file.stem != "__init__"}
    parts |= {f"sluice.{file.parent.name}" for file in package.glob("*/__init__.py")}
    assert parts <= set(layers(root))


CODE = ("engine/src/", "loadtest/", "src/")
# It looks at the part `doctor`, which calls it; where that is off, nothing imports it.
BESIDE_DOCTOR = {f"{FOLDER}/{name}/doctor.py" for name in ("hosted", "sagemaker", "upgrade")}


@pytest.fixture(scope="module")
def nodes(root: Path, tracked: list[str]) -> dict[str, list[ast.AST]]:
    """Every node of each module that runs in a project."""
    paths = [path for path in tracked if path.startswith(CODE) and path.endswith(".py") and (root / path).is_file()]
    return {path: list(ast.walk(ast.parse((root / path).read_text()))) for path in paths}


def imported(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_class_name_has_one_meaning(nodes: dict[str, list[ast.AST]]) -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path, each in nodes.items():
        for node in each if path.startswith("engine/src/") else ():
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path}:{node.lineno}")
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_every_folder_is_a_part(root: Path) -> None:
    folders = {path.parent.name for path in (root / FOLDER).glob("*/__init__.py")}
    assert folders == set(EXTRAS)


@pytest.mark.parametrize("name", EXTRAS)
def test_what_a_part_refers_to_is_there(name: str) -> None:
    extra = EXTRAS[name]
    commands = ["cli:register"] if (HERE / name / "cli.py").is_file() else []
    for reference in (*commands, *extra.hooks.values(), *extra.parameters.values()):
        assert load(name, reference)


def test_a_part_imports_those_that_it_needs_and_the_rest_imports_none(nodes: dict[str, list[ast.AST]]) -> None:
    strangers = {}
    for path, each in nodes.items():
        owner = path.removeprefix(f"{FOLDER}/").partition("/")[0] if path.startswith(f"{FOLDER}/") else ""
        needed = {name for name in EXTRAS if owner in with_dependents({name})}
        parts = {module.split(".")[2] for module in imported(each) if module.startswith("sluice.extras.")}
        if found := parts - needed - ({"doctor"} if path in BESIDE_DOCTOR else set()):
            strangers[path] = sorted(found)
    assert strangers == {}


# Lines of Python, and files in engine/src: the engine may only get smaller, as every line is a burden to each project.
CORE, SOURCE, FILES, TESTS = 27_300, 47_700, 366, 57_310


def test_the_engine_keeps_its_size(root: Path) -> None:
    package = root / "engine" / "src" / "sluice"
    lines = {path: _lines(path) for path in package.rglob("*.py")}
    core = sum(count for path, count in lines.items() if package / "extras" not in path.parents)
    assert 20_000 < core <= CORE
    assert sum(lines.values()) <= SOURCE
    assert len(lines) <= FILES
    assert sum(map(_lines, (root / "engine" / "tests").rglob("*.py"))) <= TESTS


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports in functions and below `TYPE_CHECKING` count as well."""
    graph = grimp.build_graph("sluice", cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert {*TopologicalSorter(imported).static_order()} == graph.modules  # CycleError names the modules of a circle


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
