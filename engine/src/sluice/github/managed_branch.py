"""A branch that Sluice maintains: one commit, replaced until a person adds to it. The working tree is not touched."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sluice.core.git import run

# A commit is made again with the same id: names and times are given, not taken from the machine.
IDENTITY = {
    "GIT_AUTHOR_NAME": "github-actions[bot]",
    "GIT_AUTHOR_EMAIL": "41898282+github-actions[bot]@users.noreply.github.com",
    "GIT_COMMITTER_NAME": "github-actions[bot]",
    "GIT_COMMITTER_EMAIL": "41898282+github-actions[bot]@users.noreply.github.com",
    "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z",
}
SERVER = "https://github.com"


def commit_tree(root: Path, tree: str, message: str, parent: str, env: Mapping[str, str] | None = None) -> str:
    """Makes a commit and returns its id, which follows from what it holds.

    Args:
        root: The repository.
        tree: What it holds.
        message: Its message.
        parent: The commit before it; empty for none.
        env: Other names and times than the bot's.
    """
    parents = ("-p", parent) if parent else ()
    return run(root, "commit-tree", tree, *parents, "-m", message, env={**IDENTITY, **(env or {})})


def with_files(root: Path, tree: str, files: Mapping[str, str]) -> str:
    """The tree with some files more.

    Args:
        root: The repository.
        tree: Id of the tree or commit.
        files: Content by path from the root.
    """
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
    """Puts a commit on a branch of the remote; returns what it did, in words.

    Args:
        root: The repository.
        commit: The commit.
        branch: The branch, replaced where it is ours.
        mark: What the message of its last commit says where it is: another belongs to who made it, and stays.
        environment: With GITHUB_TOKEN and GITHUB_SERVER_URL, where the remote wants a token.
        remote: Its name or address.
        remedy: For a push that is refused.

    Raises:
        SluiceError: git cannot reach the remote, or may not push.
    """
    sign_in = _sign_in(environment)
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


def _sign_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The token, for one git process and GitHub's server alone; it is written nowhere."""
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
