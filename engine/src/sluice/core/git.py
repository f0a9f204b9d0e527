"""Queries of git: the state of the checkout, and files of other commits, read from the object database without a
checkout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sluice.core.errors import SluiceError, nearest


def commit(root: Path) -> str:
    """The commit that is checked out, with `-dirty` behind it when tracked files differ; `unknown` outside git."""
    head = _git(root, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return f"{head}-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else head


def commit_time(root: Path) -> int:
    """When the commit that is checked out was made, in seconds since 1970; 0 outside git."""
    return int(_git(root, "show", "--no-patch", "--format=%ct", "HEAD") or 0)


def resolve(root: Path, ref: str) -> str:
    """The commit that a name means.

    Args:
        root: the checkout.
        ref: a branch, a tag, or a commit.

    Returns:
        Its full name.

    Raises:
        SluiceError: no commit has that name here.
    """
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found:
        return found
    if not _git(root, "rev-parse", "--git-dir"):
        raise SluiceError(f"{root}: not a git checkout", remedy="run it in a clone of the repository")
    known = _git(root, "for-each-ref", "--format=%(refname:short)").splitlines()
    raise SluiceError(
        f"no commit, branch or tag {ref!r} here{nearest(ref, known)}",
        remedy="fetch it: `git fetch origin main`; in CI, fetch the history too",
    )


def files_at(root: Path, commit: str, folder: str, *, suffix: str = "") -> dict[str, bytes]:
    """Files that lie directly in a folder at a commit.

    Args:
        root: the checkout.
        commit: any name of it.
        folder: path in the checkout; one that is not there has no files.
        suffix: how the names of the files end.

    Returns:
        Contents by name.
    """
    listed = _output(root, "ls-tree", "-z", commit, f"{folder}/").decode("utf-8", "surrogateescape")
    found = {}
    for entry in filter(None, listed.split("\0")):
        facts, path = entry.split("\t", 1)
        kind, digest = facts.split()[1:]
        name = path.rpartition("/")[2]
        if kind == "blob" and name.endswith(suffix):
            found[name] = _output(root, "cat-file", "blob", digest)
    return found


def merge_base(root: Path, one: str, other: str) -> str:
    """The commit at which two commits parted.

    Args:
        root: the checkout.
        one: a commit.
        other: another.

    Returns:
        Its full name.

    Raises:
        SluiceError: they have nothing in common here.
    """
    if found := _git(root, "merge-base", one, other):
        return found
    raise SluiceError(
        f"{one[:12]} and {other[:12]} have no commit in common here",
        remedy="a shallow clone has no history: `git fetch --unshallow`",
    )


def changed(root: Path, base: str, head: str = "", *, paths: Sequence[str] = (".",), but_for: str = "") -> list[str]:
    """Files that differ from a commit. One that was moved is two: one that went, one that came.

    Args:
        root: the checkout.
        base: the earlier commit.
        head: the later one; empty: the working tree, with files that git does not know yet but would take.
        paths: files and folders that count.
        but_for: a file that does not.

    Returns:
        Paths in the checkout, sorted.
    """
    where = ["--", *paths, *([f":(exclude){but_for}"] if but_for else [])]
    found = _names(root, "diff", "--name-only", "--no-renames", "-z", base, *([head] if head else []), *where)
    if not head:
        found += _names(root, "ls-files", "--others", "--exclude-standard", "-z", *where)
    return sorted(set(found))


def run(root: Path, *words: str, env: Mapping[str, str] | None = None, remedy: str = "") -> str:
    """Runs a command of git.

    Args:
        root: the checkout.
        words: the command and its options.
        env: variables beside those of this process.
        remedy: of a failure.

    Returns:
        What it prints, without the last line end.

    Raises:
        SluiceError: it fails; with git's own words.
    """
    return _output(root, *words, env=env, remedy=remedy).decode("utf-8", "surrogateescape").rstrip("\n")


def _names(root: Path, *words: str) -> list[str]:
    """Paths that a command prints with a NUL behind each, as they are: nothing is quoted."""
    return list(filter(None, _output(root, *words).decode("utf-8", "surrogateescape").split("\0")))


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _output(root: Path, *words: str, env: Mapping[str, str] | None = None, remedy: str = "") -> bytes:
    """What a command prints; SluiceError when it fails."""
    argv = ["git", "-C", str(root), *words]
    done = subprocess.run(argv, capture_output=True, check=False, env={**os.environ, **env} if env else None)
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip()
        raise SluiceError(
            f"git {' '.join(words)}: {reason}", remedy=remedy or "`git fsck` tells whether the repository is whole"
        )
    return done.stdout
