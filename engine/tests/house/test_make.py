"""The task vocabulary: every Make target with a help text is one command of the project's own programs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from sluice.core.extras import FOLDER

PROGRAMS = {"sluice", "pytest", "pre-commit", "ruff", "python engine/scripts/audit_locks.py"}
# `help` prints the names, `setup` is another target's recipe, `clean` removes files, `kind` runs a script.
OWN_RECIPE = {"help", "setup", "clean", "kind"}


def targets(root: Path) -> dict[str, list[str]]:
    """Target with a help text -> lines of its recipe."""
    files = [root / "Makefile", *sorted(root.glob(f"{FOLDER}/*/extra.mk"))]
    text = "".join(file.read_text() for file in files).replace("\\\n", " ")
    found = re.findall(r"^([\w-]+):[^\n]*## .*\n((?:\t.*\n)*)", text, re.MULTILINE)
    return {name: [line.strip("\t@ ") for line in recipe.splitlines()] for name, recipe in found}


def test_a_task_is_one_command(root: Path) -> None:
    longer = {name: recipe for name, recipe in targets(root).items() if len(recipe) > 1}
    assert not longer


def test_a_task_calls_a_program_of_the_project(root: Path) -> None:
    for name, recipe in targets(root).items():
        if name not in OWN_RECIPE:
            called = set(re.findall(r"\$\(BIN\)/(python engine/scripts/\w+\.py|[\w-]+)", recipe[0]))
            assert called, f"{name}: calls nothing of the environment"
            assert called <= PROGRAMS, f"{name}: {called}"
            assert len(called) == 1, f"{name}: more than one program"


def test_the_tasks_that_everything_builds_on_are_there(root: Path) -> None:
    assert {"setup", "release", "serve", "test", "check"} <= set(targets(root))


def test_help_lists_every_task(root: Path) -> None:
    # Inside `make test` the outer make's flags would reach this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "help"], cwd=root, env=env, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(targets(root))
