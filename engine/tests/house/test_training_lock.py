"""`make check` is the same with what trains and without, which the job `check` of ci.yml does not install."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sluice.core.extras import FOLDER


def test_types_are_checked_without_what_trains(root: Path) -> None:
    """A library that is there in one of the two alone has no types in either."""
    locks = {path: path.read_text() for path in (root / FOLDER).glob("*/requirements/train.txt")}
    if not locks:
        pytest.skip("nothing trains here")
    first = re.compile(r"^([a-z0-9][\w.-]*)==", re.MULTILINE)
    everywhere = set(first.findall((root / "engine/requirements/dev.txt").read_text()))
    training = {"torch", *(name for text in locks.values() for name in first.findall(text))} - everywhere
    imported = {
        name.split(".")[0]
        for path in (root / "engine" / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    owners = packages_distributions()
    found = {
        name for name in imported if {re.sub(r"[-_.]+", "-", one).lower() for one in owners.get(name, [])} & training
    }
    settings = tomllib.loads((root / "engine" / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    (untyped,) = [one["module"] for one in settings if one.get("follow_imports") == "skip"]
    assert "torch" in found
    assert {f"{name}.*" for name in found} - set(untyped) == set()
