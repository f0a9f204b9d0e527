"""Entries by name that Python modules add by a decorator: built-in ones and a fork's own in src/assistant/.

Modules are imported when an entry is asked for: what nobody uses costs nothing."""

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
    """Entries by name, in the order of the packages, the engine's own first, and of the modules' names.

    `what` an entry is, errors say."""

    def __init__(self, what: str, *packages: str) -> None:
        self.what = what
        self.packages = packages
        self.entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}
        self._complete = False

    def add(self, name: str, entry: T, module: str) -> None:
        if not _NAME.fullmatch(name):
            raise SluiceError(f"{module}: {name!r} is not a valid name for a {self.what}", remedy="use a-z, 0-9 and _")
        if self._modules.setdefault(name, module) != module:
            said = f"{module}: the {self.what} {name!r} is already defined in {self._modules[name]}"
            raise SluiceError(said, remedy="give it another name")
        self.entries[name] = entry

    def __getitem__(self, name: str) -> T:
        """Return an entry. A module of its name is imported first, then package by package until one has it."""
        if name not in self.entries and not self._complete:
            for package in self.packages if _NAME.fullmatch(name) else ():
                _load_below(f"{package}.{name}")
            for package in self.packages:
                if name not in self.entries:
                    _load_below(package)
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

        def place(name: str) -> tuple[int, str]:
            module = self._modules[name]
            at = (n for n, package in enumerate(self.packages) if f"{module}.".startswith(f"{package}."))
            return next(at, len(self.packages)), module

        return iter(sorted(self.entries, key=place))

    def __len__(self) -> int:
        self._load_all()
        return len(self.entries)

    def _load_all(self) -> None:
        if not self._complete:
            for package in self.packages:
                _load_below(package)
            self._complete = True


def _load_below(package: str) -> None:
    """Import a module, if there is one, and all modules below it."""
    if _exists(package):
        for found in pkgutil.iter_modules(getattr(_load(package), "__path__", ())):
            _load_below(f"{package}.{found.name}")


def load_optional(module: str) -> ModuleType | None:
    """Import a module of the fork; None if there is no such file."""
    return _load(module) if _exists(module) else None


def _exists(module: str) -> bool:
    parent = module.rpartition(".")[0]
    if parent and not (_exists(parent) and hasattr(_load(parent), "__path__")):
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
