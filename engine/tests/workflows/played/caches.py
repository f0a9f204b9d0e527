"""What the stubs of actions/cache do: a note of the key, and where PLAYED_CACHES names a folder, copies of the paths.

As actions/cache v5.0.5 (src/restoreImpl.ts, src/saveImpl.ts, action.yml; the commit that is pinned here is of v6.1.0):
the key itself, else the newest that begins with one of `restore-keys`, in their order; `cache-hit` is set where
something was found, and true for the key itself; a key is saved once; paths that are not there are no failure.
What is below HOME is left out: who names a folder has a HOME that keeps it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def restore(kept: Path, key: str, prefixes: list[str]) -> None:
    there = sorted((path for path in kept.glob("*") if path.is_dir()), key=lambda path: -path.stat().st_mtime_ns)
    found = [path for begin in (key, *prefixes) for path in there if path.name.startswith(begin)]
    exact = [path for path in there if path.name == key]
    if chosen := next(iter([*exact, *found]), None):
        for number, path in enumerate(paths()):
            if (copy := chosen / str(number)).exists():
                shutil.copytree(copy, path, dirs_exist_ok=True, symlinks=True)
        with Path(os.environ["GITHUB_OUTPUT"]).open("a") as stream:
            stream.write(f"cache-hit={str(bool(exact)).lower()}\n")
        print(f"restored from {chosen.name}")


def save(kept: Path, key: str) -> None:
    if (kept / key).exists():
        print(f"{key} is there already")
        return
    for number, path in enumerate(paths()):
        if path.is_dir():
            shutil.copytree(path, kept / key / str(number), symlinks=True)


def paths() -> list[Path]:
    named = [line.strip() for line in os.environ["PATHS"].splitlines()]
    return [Path(line) for line in named if line and not line.startswith("~")]


if __name__ == "__main__":
    name = os.environ["KEY"]
    with Path(os.environ["PLAYED_PLACE"], "cached").open("a") as notes:
        notes.write(name + "\n")
    if folder := os.environ.get("PLAYED_CACHES"):
        if sys.argv[1] == "save":
            save(Path(folder), name)
        else:
            restore(Path(folder), name, os.environ["PREFIXES"].split())
