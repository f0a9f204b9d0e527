"""Versions of the template, and trees of git on disk: nothing in the repository changes but its objects."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import SERVER, run, sign_in_to_github
from sluice.core.workspace import LOCK
from sluice.extras.upgrade.codemods import order
from sluice.template.owned import ENGINE, version_of

# Files are what git has, byte for byte, whatever a machine is set to.
_AS_IT_IS = ("-c", "core.autocrlf=false")
_PRIVATE = "a private one takes an UPGRADE_TOKEN that may read it"


def address_of(source: str) -> str:
    """What git fetches from: owner/name means GitHub."""
    return f"{SERVER}/{source}.git" if re.fullmatch(r"[\w-]+/[\w.-]+", source) else source


def released(root: Path, address: str) -> list[str]:
    """Released versions of the template, the newest last. Tags of other forms, such as v1.0.0-rc1, are none."""
    words, remedy = ("ls-remote", "--tags", "--refs", "--", address, "v*"), "check the address of the template"
    listed = run(root, *words, env=sign_in_to_github(os.environ), remedy=f"{remedy}; {_PRIVATE}")
    found = re.findall(r"refs/tags/v(\d+\.\d+\.\d+)$", listed, re.MULTILINE)
    return sorted(found, key=order)


def fetch_version(address: str, version: str, folder: Path) -> Path:
    """A version of the template, such as 0.2.0, as files below an empty `folder`; returns the folder that has them.

    SluiceError when the address or the tag v0.2.0 is not there, or the engine in it is of another version.
    """
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
    """The files of a commit, with an index of their own (`index_of`) beside them."""
    folder.mkdir()
    work = index_of(repository, folder)
    run(folder, *_AS_IT_IS, "read-tree", commit, env=work)
    run(folder, *_AS_IT_IS, "checkout-index", "--all", "--force", "--index", env=work)
    return folder


def index_of(repository: Path, folder: Path) -> dict[str, str]:
    """Variables by which git takes `folder` for the work tree of a repository, with an index beside it."""
    found = run(repository, "rev-parse", "--absolute-git-dir")
    return {"GIT_DIR": found, "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": f"{folder}.index"}


def changed_files(folder: Path, work: Mapping[str, str]) -> list[str]:
    """Files of a work tree that its index does not have so, sorted; ignored ones too."""
    listed = run(folder, *_AS_IT_IS, "ls-files", "--modified", "--deleted", "--others", "-z", env=work)
    installed = (ENGINE,) if (folder / LOCK).is_file() else ()  # it is not in git
    return sorted({path for path in listed.split("\0") if path and not path.startswith(installed)})


def take(folder: Path, paths: list[str], work: Mapping[str, str]) -> None:
    """Puts these files, as they are in the work tree or no longer are, into its index."""
    listed = folder.parent / "paths"
    listed.write_bytes(b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths))
    chosen = ("--all", "--force", f"--pathspec-from-file={listed}", "--pathspec-file-nul")
    if paths:
        run(folder, *_AS_IT_IS, "--literal-pathspecs", "add", *chosen, env=work)


def merge_file(ours: Path, base: Path, theirs: Path) -> bytes | None:
    """Three-way merge of a file by git; None where both sides changed the same lines."""
    argv = ["git", "merge-file", "--stdout", "--", str(ours), str(base), str(theirs)]
    done = subprocess.run(argv, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
