"""The code that a stage of the pipeline, or the service, can reach: the closure of its imports, with data files and
locks.

The graph is grimp's: imports inside functions count, those for type checkers don't. A module that imports by name
brings the modules whose names stand in it as strings; calls of core/extras.py bring what extras have for them. A
package that has a module of the closure brings its data files: templates, pages, styles, cases."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.extras import EXTRAS, extras, left_out

if TYPE_CHECKING:
    from grimp import ImportGraph

ENGINE, APPLICATION = "sluice", "assistant"
_SOURCES = {ENGINE: "engine/src", APPLICATION: "src"}
_LOCKS = "engine/requirements"
_NO_DATA = ("__pycache__", "requirements")
_EXTRAS = f"{ENGINE}.extras."
CODE = (*_SOURCES.values(), _LOCKS)
# What a fork imports it from. It brings the names that are imported through it, not all that it has.
_DOOR = f"{ENGINE}.extend"
_BY_NAME = re.compile(r"\b(?:import_module|__import__|pkgutil|Registry)\b")
_NAME = re.compile(r"""["']([A-Za-z_]\w*(?:\.\w+)+)(?::\w+)?["']""")
_OF_EXTRAS = re.compile(r"""\b(hooks|packages)\(["'](\w+)["']\)""")


@dataclass(frozen=True)
class Program:
    """Modules where code begins to run, of the engine and, if it has them, of the fork; a package stands for all of its
    modules. `locks`: files of requirements/, or of that folder of an extra."""

    modules: tuple[str, ...]
    application: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """`paths`: file by its name, which is the same wherever the code is: `sluice/core/atomic_files.py`."""

    paths: Mapping[str, Path]

    @cached_property
    def files(self) -> dict[str, str]:
        return {name: digest_of_file(path) for name, path in sorted(self.paths.items())}

    @property
    def digest(self) -> str:
        return digest_of(self.files)

    def listing(self) -> str:
        """Return the digest in a line, then each file with its own, as sha256sum writes it."""
        return "\n".join([self.digest, *(f"{sha256}  {name}" for name, sha256 in self.files.items()), ""])


def changed(before: str, now: str) -> str:
    """Describe what is different between two listings."""
    if not before:
        return "listed for the first time"
    lines = set(before.splitlines()[1:]) ^ set(now.splitlines()[1:])
    names = sorted({line.partition("  ")[2] for line in lines})
    return f"{len(names)} file{'s' * (len(names) != 1)} changed: {', '.join(names)}"


def affecting(root: Path, changed: Sequence[str], *programs: Program, but_for: Program | None = None) -> list[str]:
    """Return the changed files that can make a difference to programs; in doubt a file can."""
    try:
        graph = CodeGraph(root)
        left_out = graph.code_of(but_for).paths if but_for else {}
        paths = {path for name, path in graph.code_of(*programs).paths.items() if name not in left_out}
        reached = {path.relative_to(root).as_posix() for path in paths}
    except SluiceError:
        return list(changed)
    return [
        name
        for name in changed
        if name in reached or not name.startswith(tuple(f"{folder}/" for folder in CODE)) or not (root / name).exists()
    ]


class CodeGraph:
    """The imports of the packages of a checkout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        places = {name: root / source / name for name, source in _SOURCES.items()}
        self._packages = {name: place for name, place in places.items() if (place / "__init__.py").is_file()}
        if ENGINE not in self._packages:
            raise SluiceError(f"{places[ENGINE]}: no such package", remedy="run it in a clone of the repository")
        if mine := self._packages.get(APPLICATION):  # what a folder that is no package imports would not be seen
            bare = sorted({path.parent for path in mine.rglob("*.py") if not (path.parent / "__init__.py").is_file()})
            if bare:
                faults = [f"{path.relative_to(root)}/: has modules and no __init__.py" for path in bare]
                raise ValidationErrors(str(mine), faults, remedy="add an empty __init__.py")
        self._graph = _build(self._packages)
        off = tuple(f"{_EXTRAS}{name}." for name in left_out(root))
        self._on = {name for name in self._graph.modules if not (off and f"{name}.".startswith(off))}
        self._data = {place: paths for folder in self._packages.values() for place, paths in _data_of(folder).items()}

    def code_of(self, *programs: Program) -> Code:
        """Return all that any of the programs can reach."""
        there = [
            one for one in programs if all(name in self._on or not name.startswith(_EXTRAS) for name in one.modules)
        ]
        if absent := [name for one in there for name in one.modules if name not in self._graph.modules]:
            remedy = "core/closures.py says what a stage runs: fix it"
            raise SluiceError(f"{self._root}: no module {', '.join(absent)}", remedy=remedy)
        begun = {name for one in there for name in (*one.modules, *one.application)} & self._graph.modules
        modules = self._reach(module for name in begun for module in self._whole(name))
        paths = {self._name(path): path for path in map(self._file, modules)}
        for module in modules:
            paths |= {self._name(path): path for path in self._data.get(self._folder(module), ())}
        parts = self._packages[ENGINE] / "extras"
        for lock in sorted({lock for program in there for lock in program.locks}):
            places = [*(self._root / _LOCKS).glob(lock), *parts.glob(f"*/requirements/{lock}")]
            if not places:
                raise SluiceError(f"{self._root / _LOCKS / lock}: no such file", remedy="restore it with git")
            paths[f"requirements/{lock}"] = places[0]
        return Code(paths)

    def _whole(self, module: str) -> list[str]:
        return [module, *sorted(self._graph.find_descendants(module))]

    def _reach(self, roots: Iterable[str]) -> set[str]:
        found: set[str] = set()
        left = set(roots)
        while left:
            module = left.pop()
            found.add(module)
            parent = module.rpartition(".")[0]  # whose __init__ runs first
            left |= {*self._imported(module), *self._named(module), *filter(None, [parent])} - found
        return found

    def _imported(self, module: str) -> set[str]:
        if module == _DOOR:
            return set()
        found: set[str] = self._graph.find_modules_directly_imported_by(module)
        return found | self._through_the_door(module) if _DOOR in found else found

    def _through_the_door(self, module: str) -> set[str]:
        """Return where the names come from that a module imports from the door; in doubt all that it has."""
        behind = {
            known: whole if (whole := f"{node.module}.{name}") in self._graph.modules else str(node.module)
            for node, name, known in _imports_from(self._file(_DOOR))
        }
        names = [name for node, name, _ in _imports_from(self._file(module)) if node.module == _DOOR]
        sure = names and all(name in behind for name in names)
        # What libraries give is no code of ours.
        return {one for one in (map(behind.get, names) if sure else behind.values()) if one in self._graph.modules}

    def _named(self, module: str) -> list[str]:
        """Return modules that a module imports by their names; a package brings all of its modules."""
        if module == _DOOR:
            return []
        text = self._file(module).read_text(encoding="utf-8")
        named = set(_NAME.findall(text)) & self._graph.modules if _BY_NAME.search(text) else set()
        for function, name in _OF_EXTRAS.findall(text):
            if function == "packages":
                named |= {one for one in self._on if one.startswith(_EXTRAS) and one.split(".")[3:] == [name]}
                continue
            for extra, declared in EXTRAS.items():
                named |= {f"{_EXTRAS}{extra}.{declared.hooks.get(name, '').partition(':')[0]}"} & self._on
        return [one for name in sorted(named) for one in self._whole(name)]

    def _folder(self, module: str) -> Path:
        package, *parts = module.split(".")
        return self._packages[package].joinpath(*parts)

    def _file(self, module: str) -> Path:
        place = self._folder(module)
        package = place / "__init__.py"  # an older version may have left a folder without it
        return package if package.is_file() else place.with_suffix(".py")

    def _name(self, path: Path) -> str:
        source = next(folder.parent for folder in self._packages.values() if path.is_relative_to(folder))
        return path.relative_to(source).as_posix()


def _imports_from(path: Path) -> Iterator[tuple[ast.ImportFrom, str, str]]:
    """Yield each `from … import`, with a name that it imports and the one that it gives to it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node, alias.name, alias.asname or alias.name) for alias in node.names)


def _build(packages: Mapping[str, Path]) -> ImportGraph:
    """Build the graph of the checkout's packages; grimp would look them up where this process imports from."""
    import grimp
    from grimp.application.config import settings
    from grimp.application.ports.packagefinder import AbstractPackageFinder

    class InCheckout(AbstractPackageFinder):
        def determine_package_directories(self, package_name: str, file_system: object) -> set[str]:  # noqa: ARG002
            return {str(packages[package_name])}

    usual = settings.PACKAGE_FINDER
    settings.configure(PACKAGE_FINDER=InCheckout())
    try:
        return grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    finally:
        settings.configure(PACKAGE_FINDER=usual)


def _data_of(folder: Path) -> dict[Path, list[Path]]:
    """Return files that are no modules, by the innermost package around them; locks count where a program names
    them."""
    found: dict[Path, list[Path]] = {}
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith(".") or part in _NO_DATA for part in inside):
            continue
        package = next(parent for parent in path.parents if (parent / "__init__.py").is_file())
        if package != path.parent or path.suffix != ".py":
            found.setdefault(package, []).append(path)
    return found


# The modules of a fork that can change an answer; metrics only read answers.
_ANSWERS = ("assistant.app", "assistant.guardrails", "assistant.providers", "assistant.tools", "assistant.routes")
# The same versions as in dev.txt, without the tools of developers.
_SERVING = "serve.txt"

_ALL: Mapping[str, Program] = {
    "check": Program(
        ("sluice.data.contract", "sluice.data.privacy", "sluice.evaluation.asked_rows", "sluice.release.decision"),
        ("assistant.metrics",),
        locks=("dev.txt",),
    ),
    "index": Program(("sluice.retrieval.index_stage",), locks=(_SERVING,)),
    "guard": Program(("sluice.extras.guard.guard_stage",), locks=("dev.txt", "corpora.txt")),
    "train": Program(("sluice.extras.finetune.train_stage",), locks=(_SERVING, "train.txt", "qlora.txt", "torch.in")),
    "evaluate": Program(
        ("sluice.evaluation.evaluate_stage", "sluice.serving.release_parts"),
        (*_ANSWERS, "assistant.metrics"),
        locks=("dev.txt",),
    ),
}
_OPTIONAL = {"guard": "guard", "train": "finetune"}  # the part that a stage is of
# The stages that do something: DVC also runs one of a part that is off, which then leaves empty files.
STAGES: Mapping[str, Program] = {name: one for name, one in _ALL.items() if _OPTIONAL.get(name, "") in ("", *extras())}
SERVE = Program(("sluice.serving.server", "sluice.release.release_bundle"), _ANSWERS, locks=(_SERVING,))
# What judges a release, deploys it, and watches over its canary.
ROAD = Program(("sluice.jobs.release_steps", "sluice.rollout", "sluice.cluster", "sluice.rehearsal"))
PROGRAMS: Mapping[str, Program] = {**_ALL, "serve": SERVE}
