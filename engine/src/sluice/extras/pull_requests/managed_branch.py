"""A branch that Sluice maintains: one commit, replaced until a person adds to it. The working tree is not touched."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from sluice.core.git import run, sign_in_to_github


def with_files(root: Path, tree: str, files: Mapping[str, str]) -> str:
    """The tree with some files more."""
    with tempfile.TemporaryDirectory(prefix="branch-") as name:
        index = {"GIT_INDEX_FILE": str(Path(name) / "index")}
        run(root, "read-tree", tree, env=index)
        for path, text in files.items():
            file = Path(name) / "file"
            file.write_text(text, encoding="utf-8")
            blob = run(root, "hash-object", "-w", "--", str(file))
            run(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
        return run(root, "write-tree", env=index)


def push_branch(
    root: Path,
    commit: str,
    branch: str,
    mark: str,
    environment: Mapping[str, str],
    *,
    remote: str = "origin",
    remedy: str = "",
) -> str:
    """Puts a commit on a branch of the remote; returns what it did, in words."""
    sign_in = sign_in_to_github(environment)
    listed = run(root, "ls-remote", "--", remote, f"refs/heads/{branch}", env=sign_in).split()
    there = listed[0] if listed else ""
    if there == commit:
        return "branch unchanged"
    if there:
        run(root, "fetch", "--quiet", "--depth=1", "--", remote, there, env=sign_in)
        if mark not in run(root, "show", "--no-patch", "--format=%B", there):
            return "branch left alone: somebody has committed to it; delete it to begin anew"
    ref = f"refs/heads/{branch}"
    run(
        root,
        *("push", "--quiet", f"--force-with-lease={ref}:{there}", "--", remote, f"{commit}:{ref}"),
        env=sign_in,
        remedy=remedy,
    )
    return "branch pushed" if not there else "branch pushed anew"
