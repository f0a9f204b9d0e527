"""Changes of a project's own files that a version of the template demands; `sluice upgrade` makes them.

One file for each such version: `v0_2_0.py` belongs to version 0.2.0. It has a function `apply(root) -> list[str]` that
changes files of the project below `root` and returns their paths. It is run by the engine that is replaced, so it
imports nothing of `sluice`; and on a project that needs no change it changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from sluice.core.errors import SluiceError

_RUN = """
import json, pathlib, runpy, sys
sys.dont_write_bytecode = True
path, root = map(pathlib.Path, sys.argv[1:])
print(json.dumps([str(one) for one in runpy.run_path(str(path))["apply"](root)]))
"""
FOLDER = "engine/src/sluice/extras/upgrade/codemods"


def codemods(root: Path, old: str, new: str) -> list[tuple[str, Path]]:
    """Version and file of each codemod between the version that is left behind, whose own has run, and the one that is
    taken, the oldest first. `root`: a checkout with the newer engine.
    """
    found = []
    for path in (root / FOLDER).glob("v*.py"):
        if parts := re.fullmatch(r"v(\d+)_(\d+)_(\d+)", path.stem):
            version = ".".join(parts.groups())
            if order(old) < order(version) <= order(new):
                found.append((version, path))
    return sorted(found, key=lambda one: order(one[0]))


def run_codemod(path: Path, root: Path) -> list[str]:
    """Runs one codemod on a project, in a process of its own that gets no variable of this one, such as a token; the
    paths that it says it has changed, sorted. SluiceError when it has no function `apply`, or failed.
    """
    argv = [sys.executable, "-I", "-c", _RUN, str(path), str(root)]
    done = subprocess.run(argv, env={"PATH": os.environ.get("PATH", "")}, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SluiceError(f"codemod {path.stem}: {last}", remedy="report it to the template; nothing changed")
    return sorted(json.loads(done.stdout.splitlines()[-1]))


def order(version: str) -> tuple[int, ...]:
    """A version as numbers, which compare: 0.10.0 comes after 0.2.0. SluiceError where it has anything else."""
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        raise SluiceError(f"{version}: not a version such as 0.2.0", remedy="engine/pyproject.toml says it")
    return tuple(int(part) for part in version.split("."))
