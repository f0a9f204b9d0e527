"""What the stubs of actions/cache do: where PLAYED_CACHES names a folder, copies of the paths; else nothing is kept.

As actions/cache v5.0.5 (src/restoreImpl.ts, src/saveImpl.ts, action.yml) and @actions/cache 5, which it calls (the
commit that is pinned here is of v6.1.0): the key itself, else the newest that begins with one of `restore-keys`, in
their order; `cache-hit` is set where something was found, and true for the key itself; what was saved with other paths
is another entry; a key is saved once; paths that are not there are no failure. `test_actions.py` asks the same of these
and of the real ones. What is below HOME is left out: who names a folder has a HOME that keeps it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path


def restore(kept: Path, key: str, prefixes: list[str]) -> None:
    there = sorted((path for path in kept.glob("*") if path.is_dir()), key=lambda path: -path.stat().st_mtime_ns)
    chosen = next((path for begin in (key, *prefixes) for path in there if path.name.startswith(begin)), None)
    exact = next((path for path in there if path.name == key), chosen)
    if exact is None:
        return
    for number, path in enumerate(paths()):
        if (copy := exact / str(number)).exists():
            shutil.copytree(copy, path, dirs_exist_ok=True, symlinks=True)
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as stream:
        stream.write(f"cache-hit={str(exact.name == key).lower()}\n")
    print(f"Cache restored from key: {exact.name}")


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
    if folder := os.environ.get("PLAYED_CACHES"):
        version = hashlib.sha256("|".join(map(str, paths())).encode()).hexdigest()[:12]
        if sys.argv[1] == "save":
            save(Path(folder, version), os.environ["KEY"])
        else:
            restore(Path(folder, version), os.environ["KEY"], os.environ["PREFIXES"].split())
