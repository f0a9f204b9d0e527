"""Entries by name that Python modules add by a decorator: built-in ones and a fork's own, found in the same way.

A registry knows the packages whose modules may add to it, and imports them when an entry is asked for, not before: what
nobody uses costs nothing. A fork's own packages lie in src/assistant/ and may be missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Generic, TypeVar

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest

APPLICATION = "assistant"  # the fork's own package
_NAME = re.compile(r"[a-z][a-z0-9_]*")
T = TypeVar("T")


class UnknownEntryError(SluiceError, KeyError):
    __str__ = SluiceError.__str__


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name, in the order of the packages and of the modules' names.

    Args:
        what: what an entry is, for errors.
        packages: modules and packages whose modules add entries, the engine's own first.
    """

    def __init__(self, what: str, *packages: str) -> None:
        self.what = what
        self.packages = packages
        self.entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}
        self._complete = False

    def add(self, name: str, entry: T, module: str) -> None:
        """Adds an entry; the decorators call it."""
        if not _NAME.fullmatch(name):
            raise SluiceError(f"{module}: {name!r} is not a valid name for a {self.what}", remedy="use a-z, 0-9 and _")
        if self._modules.setdefault(name, module) != module:
            said = f"{module}: the {self.what} {name!r} is already defined in {self._modules[name]}"
            raise SluiceError(said, remedy="give it another name")
        self.entries[name] = entry

    def __getitem__(self, name: str) -> T:
        """The entry of a name. A module of that name is imported first, then package by package until one has it."""
        if name not in self.entries and not self._complete:
            for package in self.packages:
                if _NAME.fullmatch(name) and _exists(f"{package}.{name}"):
                    _load(f"{package}.{name}")
            for package in self.packages:
                if name not in self.entries:
                    modules_of(package)
        try:
            return self.entries[name]
        except KeyError:
            known = sorted(self.entries)
            raise UnknownEntryError(
                f"no {self.what} {name!r}{nearest(name, known)}; known: {', '.join(known)}",
                remedy=f"correct the name, or define it in src/{self.packages[-1].replace('.', '/')}",
            ) from None

    def __iter__(self) -> Iterator[str]:
        self._load_all()
        return iter(self._ordered())

    def __len__(self) -> int:
        self._load_all()
        return len(self.entries)

    def _ordered(self) -> list[str]:
        """By package and module, whichever was imported first; within a module as it is written."""
        order = {package: place for place, package in enumerate(self.packages)}

        def place(name: str) -> tuple[int, str]:
            module = self._modules[name]
            package = next((one for one in self.packages if module == one or module.startswith(f"{one}.")), "")
            return order.get(package, len(order)), module

        return sorted(self.entries, key=place)

    def _load_all(self) -> None:
        if not self._complete:
            for package in self.packages:
                modules_of(package)
            self._complete = True


def modules_of(package: str) -> list[str]:
    """Import a module and all modules below it; their names, sorted, or none where there is no such module."""
    if not _exists(package):
        return []
    paths = getattr(_load(package), "__path__", ())
    below = [name for found in pkgutil.iter_modules(paths) for name in modules_of(f"{package}.{found.name}")]
    return [package, *sorted(below)]


def load_optional(module: str) -> ModuleType | None:
    """A module of the fork; None when there is no such file. SluiceError as for a registry."""
    return _load(module) if _exists(module) else None


def _exists(module: str) -> bool:
    parent = module.rpartition(".")[0]
    if parent and not _exists(parent):
        return False
    if parent and not hasattr(_load(parent), "__path__"):
        return False
    return importlib.util.find_spec(module) is not None


def _load(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except SluiceError:
        raise
    except Exception as error:
        if module.partition(".")[0] != APPLICATION:
            raise
        raise SluiceError(
            f"src/{module.replace('.', '/')}: cannot be imported: {type(error).__name__}: {error}",
            remedy=f"correct the module; `python -c 'import {module}'` shows where it fails",
        ) from error
