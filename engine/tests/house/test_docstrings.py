"""Docstrings of functions that another package of the engine, or the project's own code, calls: Args and Returns.

A function crosses a border when a module of another package imports it, or imports its module and reads its name from
it; a method does when its class crosses and a module of another package reads an attribute of that name.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ENGINE = "sluice"
OWN = ("src", "loadtest", "pipelines")  # of the project
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """`imported`: (module, name) of each `from … import`; `attributes`: every name that is read from something."""

    name: str
    package: str
    tree: ast.Module
    imported: frozenset[tuple[str, str]]
    attributes: frozenset[str]

    @classmethod
    def parse(cls, name: str, text: str) -> Module:
        tree = ast.parse(text)
        nodes = list(ast.walk(tree))
        imported = {
            (node.module, alias.name)
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == ENGINE
            for alias in node.names
        }
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        return cls(name, package_of(name), tree, frozenset(imported), frozenset(attributes))


def package_of(module: str) -> str:
    """`core` of sluice.core.git, `extras.sweep` of a module of an extra, `own` of the project's code."""
    top, *parts = module.split(".")
    if top != ENGINE:
        return "own"
    return ".".join(parts[:2]) if parts[:1] == ["extras"] else "".join(parts[:1])


@dataclass(frozen=True)
class Code:
    """Modules by name."""

    modules: Mapping[str, Module]
    importers: dict[tuple[str, str], list[Module]] = field(init=False)

    def __post_init__(self) -> None:
        importers = defaultdict(list)
        for module in self.modules.values():
            for what in module.imported:
                importers[what].append(module)
        object.__setattr__(self, "importers", importers)

    @cached_property
    def faults(self) -> list[tuple[str, str]]:
        """Package and `module.function: what is missing` of every function that crosses a border undescribed."""
        found = []
        for module in self.modules.values():
            for name, function, bound in self._crossing(module) if module.package != "own" else ():
                if absent := missing_sections(function, bound=bound):
                    found.append((module.package, f"{module.name}.{name}: {' and '.join(absent)}"))
        return sorted(found)

    def _crossing(self, module: Module) -> Iterator[tuple[str, Function, bool]]:
        for node in module.tree.body:
            if isinstance(node, Function) and self._is_used(module, node.name):
                yield node.name, node, False
            elif isinstance(node, ast.ClassDef) and self._is_used(module, node.name):
                for method in node.body:
                    if isinstance(method, Function) and self._is_read(module, method.name):
                        yield f"{node.name}.{method.name}", method, True

    def _is_used(self, module: Module, name: str) -> bool:
        if name.startswith("_"):
            return False
        by_name = self.importers[module.name, name]
        whole = self.importers[tuple(module.name.rsplit(".", 1))] if "." in module.name else []
        users = [*by_name, *(user for user in whole if name in user.attributes)]
        return any(user.package != module.package for user in users)

    def _is_read(self, module: Module, method: str) -> bool:
        others = (other for other in self.modules.values() if other.package != module.package)
        return not method.startswith("_") and any(method in other.attributes for other in others)


def missing_sections(function: Function, *, bound: bool) -> list[str]:
    """Sections that the docstring of a function lacks; one with a single parameter needs none."""
    taken = function.args
    count = len(taken.posonlyargs) + len(taken.args) + len(taken.kwonlyargs) - bound
    text = ast.get_docstring(function) or ""
    returns = ast.unparse(function.returns) if function.returns else "None"
    faults = [] if "Args:" in text else ["no Args"]
    # The first paragraph may name what is returned ("The open stores, by name."); one that begins with a verb does not,
    # unless it says what the function returns.
    first = text.partition("\n\n")[0]
    does = not first or (first.split()[0].endswith("s") and "returns" not in first)
    if does and _is_plain(returns) and "Returns:" not in text and "Yields:" not in text:
        faults.append("no Returns")
    return faults if count > 1 else []


def _is_plain(returned: str) -> bool:
    """Whether a type says nothing of what it holds. A class of the project describes itself."""
    return returned.partition("[")[0].split(" |")[0] in (
        "str",
        "bytes",
        "int",
        "float",
        "bool",
        "dict",
        "list",
        "tuple",
        "set",
    )


@pytest.fixture(scope="module")
def code(root: Path) -> Code:
    paths = {root / "engine" / "src": ENGINE} | {root / name: "" for name in OWN}
    modules = {}
    for folder, package in paths.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            name = name if package else f"{folder.name}.{name}"
            modules[name] = Module.parse(name, path.read_text(encoding="utf-8"))
    return Code(modules)


def test_what_another_package_calls_says_what_it_takes_and_gives(code: Code) -> None:
    assert [fault for _, fault in code.faults] == []


SEEDED = {
    "sluice.core.tools": '''
def undescribed(one: int, two: int) -> int: ...
def unused(one: int, two: int) -> int: ...
def of_one(one: int) -> int: ...
def described(one: int, two: int) -> int:
    """Sum.

    Args:
        one: …

    Returns:
        The sum.
    """
def does(one: int, two: int) -> int:
    """Adds them.

    Args:
        one: …
    """
def gives(one: int, two: int) -> int:
    """The sum.

    Args:
        one: …
    """
def empty(one: int, *, two: int) -> None:
    """Does it.

    Args:
        one: …
    """
class Tool:
    def turned(self, one: int, two: int) -> int: ...
    def left(self, one: int, two: int) -> int: ...
    def small(self, one: int) -> int: ...
''',
    "sluice.core.near": "from sluice.core.tools import unused",
    "sluice.data.far": """
from sluice.core.tools import described, does, gives, of_one, empty, Tool
Tool().turned(1, 2)
Tool().small(1)
""",
    "src.own": "from sluice.core import tools\ntools.undescribed(1, 2)",
}


def test_the_rule_finds_what_crosses_a_border() -> None:
    seeded = Code({name: Module.parse(name, text) for name, text in SEEDED.items()})
    assert [fault for _, fault in seeded.faults] == [
        "sluice.core.tools.Tool.turned: no Args and no Returns",
        "sluice.core.tools.does: no Returns",
        "sluice.core.tools.undescribed: no Args and no Returns",
    ]
