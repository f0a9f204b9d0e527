"""Parts of the engine that a project may leave out: the packages of `sluice.extras`, one folder each.

The rest of the engine imports none of them. Each has a module `extra` that declares what it adds; what is declared is
imported when it is used, so that listing extras costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = "engine/src/sluice/extras"
HERE = Path(__file__).resolve().parent.parent / "extras"


@dataclass(frozen=True)
class Extra:
    """What an extra adds to the engine, and what belongs to it. References are `module:name`, below its package.

    Attributes:
        summary: What it is for, in one line.
        needs: Extras that it imports; without one of them it cannot be kept.
        commands: A function that adds its commands to the Typer app and to the groups of commands by noun.
        hooks: Functions that the engine or another extra calls, by the name of the occasion.
        parameters: The settings of sections of pipelines/params.yaml, by section.
        files: Files and folders outside its folder that are its own: tests, pages, settings.
        shared: Files that are there only beside another extra, by the name of that one.
        entries: Parts of YAML files by file, in the language of template/cuts.py: jobs, stages, sections, gates.
        lines: Lines of pages and settings that are about it, by file: words that each such line holds.
    """

    summary: str
    needs: tuple[str, ...] = ()
    commands: str = ""
    hooks: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@cache
def extras() -> dict[str, Extra]:
    """The extras that are there, by name."""
    names = sorted(path.parent.name for path in HERE.glob("*/extra.py"))
    return {name: importlib.import_module(f"sluice.extras.{name}.extra").EXTRA for name in names}


def packages(name: str) -> tuple[str, ...]:
    """The packages of one name that extras have, for a registry of what they add: `sluice.extras.guard.checks`."""
    return tuple(
        f"sluice.extras.{path.parent.parent.name}.{name}" for path in sorted(HERE.glob(f"*/{name}/__init__.py"))
    )


def load(extra: str, reference: str) -> Any:
    """What a reference of an extra stands for."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"sluice.extras.{extra}.{module}"), name)


def hooks(occasion: str) -> dict[str, Callable[..., Any]]:
    """The functions that extras have for an occasion, by the name of the extra."""
    found = extras().items()
    return {name: load(name, extra.hooks[occasion]) for name, extra in found if occasion in extra.hooks}
