"""Versions of the template, their codemods, and trees of git on disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import SERVER, run, sign_in_to_github
from sluice.core.workspace import LOCK
from sluice.template.owned import ENGINE, version_of

_RUN = """
import pathlib, runpy, sys
sys.dont_write_bytecode = True
runpy.run_path(sys.argv[1])["apply"](pathlib.Path(sys.argv[2]))
"""
FOLDER = "engine/src/sluice/extras/upgrade/codemods"
# Files are what git has, byte for byte, whatever a machine is set to.
_AS_IT_IS = ("-c", "core.autocrlf=false")
_PRIVATE = "a private one takes an UPGRADE_TOKEN that may read it"


def address_of(source: str) -> str:
    return f"{SERVER}/{source}.git" if re.fullmatch(r"[\w-]+/[\w.-]+", source) else source


def released(root: Path, address: str) -> list[str]:
    """Return the released versions, the newest last; other tags, such as v1.0.0-rc1, are none."""
    words, remedy = ("ls-remote", "--tags", "--refs", "--", address, "v*"), "check the address of the template"
    listed = run(root, *words, env=sign_in_to_github(os.environ), remedy=f"{remedy}; {_PRIVATE}")
    found = re.findall(r"refs/tags/v(\d+\.\d+\.\d+)$", listed, re.MULTILINE)
    return sorted(found, key=order)


def fetch_version(address: str, version: str, folder: Path) -> Path:
    """Fetch a version, such as 0.2.0, into a new folder of its name below `folder`; return the folder of its files."""
    folder = folder / version
    folder.mkdir()
    store, ref = folder / "store.git", f"refs/tags/v{version}"
    run(folder, "init", "--quiet", "--bare", str(store))
    fetched = ("fetch", "--quiet", "--no-tags", "--depth=1", "--", address, f"+{ref}:{ref}")
    remedy = f"the template must be reachable, and have the tag v{version}; {_PRIVATE}"
    run(store, *fetched, env=sign_in_to_github(os.environ), remedy=remedy)
    files = check_out(store, ref, folder / "files")
    if (found := version_of(files)) != version:
        raise SluiceError(f"{address}: the tag v{version} holds the engine {found}", remedy="report it to the template")
    return files


def check_out(repository: Path, commit: str, folder: Path) -> Path:
    folder.mkdir()
    work = index_of(repository, folder)
    run(folder, *_AS_IT_IS, "read-tree", commit, env=work)
    run(folder, *_AS_IT_IS, "checkout-index", "--all", "--force", "--index", env=work)
    return folder


def index_of(repository: Path, folder: Path) -> dict[str, str]:
    """Return variables by which git takes `folder` for the work tree, with an index beside it."""
    found = run(repository, "rev-parse", "--absolute-git-dir")
    return {"GIT_DIR": found, "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": f"{folder}.index"}


def changed_files(folder: Path, work: Mapping[str, str]) -> list[str]:
    """Return the files that differ from the index, ignored ones too."""
    listed = run(folder, *_AS_IT_IS, "ls-files", "--modified", "--deleted", "--others", "-z", env=work)
    installed = (ENGINE,) if (folder / LOCK).is_file() else ()  # it is not in git
    return sorted({path for path in listed.split("\0") if path and not path.startswith(installed)})


def take(folder: Path, paths: list[str], work: Mapping[str, str]) -> None:
    """Put files, as they are or no longer are in the work tree, into its index."""
    given = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)
    run(folder, *_AS_IT_IS, "update-index", "--add", "--remove", "--replace", "-z", "--stdin", env=work, given=given)


def merge_file(ours: Path, base: Path, theirs: Path) -> bytes | None:
    argv = ["git", "merge-file", "--stdout", "--", str(ours), str(base), str(theirs)]
    done = subprocess.run(argv, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def codemods(root: Path, old: str, new: str) -> list[tuple[str, Path]]:
    """Return version and file of each codemod after `old` and up to `new`, the oldest first."""
    found = []
    for path in (root / FOLDER).glob("v*.py"):
        if parts := re.fullmatch(r"v(\d+)_(\d+)_(\d+)", path.stem):
            version = ".".join(parts.groups())
            if order(old) < order(version) <= order(new):
                found.append((version, path))
    return sorted(found, key=lambda one: order(one[0]))


def run_codemod(path: Path, root: Path) -> None:
    """Run a codemod without variables of this process, such as a token."""
    argv = [sys.executable, "-I", "-c", _RUN, str(path), str(root)]
    done = subprocess.run(argv, env={"PATH": os.environ.get("PATH", "")}, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SluiceError(f"codemod {path.stem}: {last}", remedy="report it to the template; nothing changed")


def order(version: str) -> tuple[int, ...]:
    """Return a version as numbers, which compare: 0.10.0 comes after 0.2.0."""
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        raise SluiceError(f"{version}: not a version such as 0.2.0", remedy="engine/pyproject.toml says it")
    return tuple(int(part) for part in version.split("."))
