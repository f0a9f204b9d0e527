"""Queries of git: the state of the checkout, and files of other commits."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError, nearest

# A commit is made again with the same id: names and times are given, not taken from the machine.
_IDENTITY = {
    "GIT_AUTHOR_NAME": "github-actions[bot]",
    "GIT_AUTHOR_EMAIL": "41898282+github-actions[bot]@users.noreply.github.com",
    "GIT_COMMITTER_NAME": "github-actions[bot]",
    "GIT_COMMITTER_EMAIL": "41898282+github-actions[bot]@users.noreply.github.com",
    "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z",
}
SERVER = "https://github.com"


def commit(root: Path) -> str:
    """Return the checked-out commit, with `-dirty` if tracked files differ; `unknown` outside git."""
    head = _git(root, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return f"{head}-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else head


def commit_time(root: Path) -> int:
    """Return when the checked-out commit was made, in seconds since 1970; 0 outside git."""
    return int(_git(root, "show", "--no-patch", "--format=%ct", "HEAD") or 0)


def resolve(root: Path, ref: str) -> str:
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found:
        return found
    if not _git(root, "rev-parse", "--git-dir"):
        raise SluiceError(f"{root}: not a git checkout", remedy="run it in a clone of the repository")
    known = _git(root, "for-each-ref", "--format=%(refname:short)").splitlines()
    remedy = "fetch it: `git fetch origin main`; in CI, fetch the history too"
    raise SluiceError(f"no commit, branch or tag {ref!r} here{nearest(ref, known)}", remedy=remedy)


def merge_base(root: Path, one: str, other: str) -> str:
    if found := _git(root, "merge-base", one, other):
        return found
    remedy = "a shallow clone has no history: `git fetch --unshallow`"
    raise SluiceError(f"{one[:12]} and {other[:12]} have no commit in common here", remedy=remedy)


def changed(root: Path, base: str, head: str = "", *, paths: Sequence[str] = (".",), but_for: str = "") -> list[str]:
    """Return files that differ from a commit. One that was moved is two."""
    where = ["--", *paths, *([f":(exclude){but_for}"] if but_for else [])]
    # With a NUL behind each, no path is quoted.
    found = run(root, "diff", "--name-only", "--no-renames", "-z", base, *([head] if head else []), *where)
    if not head:
        found += run(root, "ls-files", "--others", "--exclude-standard", "-z", *where)
    return sorted({path for path in found.split("\0") if path})


def run(root: Path, *words: str, **options: Any) -> str:
    return run_bytes(root, *words, **options).decode("utf-8", "surrogateescape").rstrip("\n")


def commit_tree(root: Path, tree: str, message: str, parent: str) -> str:
    """Make a commit and return its id, which follows from its content."""
    parents = ("-p", parent) if parent else ()
    return run(root, "commit-tree", tree, *parents, "-m", message, env=_IDENTITY)


def sign_in_to_github(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables that give one git process GITHUB_TOKEN, for GITHUB_SERVER_URL alone; empty without a token."""
    token = environment.get("GITHUB_TOKEN")
    if not token:
        return {}
    server = environment.get("GITHUB_SERVER_URL") or SERVER
    word = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
        "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {word}",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def run_bytes(
    root: Path, *words: str, env: Mapping[str, str] | None = None, remedy: str = "", given: bytes | None = None
) -> bytes:
    argv = ["git", "-C", str(root), *words]
    environment = {**os.environ, **env} if env else None
    done = subprocess.run(argv, capture_output=True, check=False, env=environment, input=given)
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip()
        raise SluiceError(
            f"git {' '.join(words)}: {reason}", remedy=remedy or "`git fsck` tells whether the repository is whole"
        )
    return done.stdout
