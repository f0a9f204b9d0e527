"""What the Jobs of the analyses import is in the lock of their image: a new import is found without building it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sluice import extend
from sluice.core.extras import extras

COMMANDS = {
    "sluice": [
        "sluice.cli",
        *(f"sluice.extras.{name}.cli" for name in extras() if find_spec(f"sluice.extras.{name}.cli")),
    ],
    "sluice release fetch": ["sluice.release.artifact_store", "sluice.release.catalogue"],
    "sluice canary quality": [
        "sluice.serving.settings",
        "sluice.evaluation.comparison_policy",
        "sluice.evaluation.reports.phrasing",
        "sluice.evaluation.runner",
        "sluice.rollout.canary_quality",
    ],
}
IMPORTED = """
import importlib, importlib.metadata, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
owners = importlib.metadata.packages_distributions()
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps({top: owners[top] for top in tops & owners.keys()}))
"""


DOOR = "sluice.extend"


def imports_of(folder: Path) -> list[str]:
    """The modules of `sluice` and of libraries that the files of a folder import, through the door too."""
    own = {path.stem for path in folder.glob("*")}
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names += (
                    [extend._MODULES[alias.name] for alias in node.names] if node.module == DOOR else [str(node.module)]
                )
            found |= {name for name in names if name.partition(".")[0] not in own | {"__future__"}}
    return sorted(found)


def locked(root: Path) -> set[str]:
    text = (root / "engine" / "requirements" / "load.txt").read_text()
    return {normal(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing(root: Path, modules: list[str]) -> dict[str, list[str]]:
    """Top-level module -> the distributions that have it, none of which is in the lock."""
    done = subprocess.run([sys.executable, "-c", IMPORTED, *modules], capture_output=True, text=True, check=True)
    there = locked(root) | {"sluice"}
    owners: dict[str, list[str]] = json.loads(done.stdout)
    return {top: names for top, names in owners.items() if not {normal(name) for name in names} & there}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_job_imports_what_its_image_holds(root: Path, command: str) -> None:
    assert missing(root, COMMANDS[command]) == {}


def test_the_load_stage_imports_what_its_image_holds(root: Path) -> None:
    modules = imports_of(root / "loadtest")
    assert "locust" in modules
    assert "sluice.rollout.locust_stage" in modules
    assert missing(root, modules) == {}
