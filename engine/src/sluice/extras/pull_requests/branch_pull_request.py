"""A branch that Sluice maintains and its one pull request. The working tree is not touched."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.core.git import run, sign_in_to_github
from sluice.github.github_client import BOT, CommentResult, login_of, open_repository

if TYPE_CHECKING:
    from github.PullRequest import PullRequest
    from github.Repository import Repository

# What GitHub's own token opens starts no workflow by itself (github.blog, changelog of 2026-06-11).
APPROVAL = (
    "\n> Opened by GitHub's own token: its checks begin when somebody who may write presses "
    "*Approve workflows to run*.\n"
)


def with_files(root: Path, tree: str, files: Mapping[str, str]) -> str:
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
    """Push a commit to a branch that Sluice owns and return what was done."""
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


@dataclass(frozen=True)
class PullRequestText:
    branch: str
    title: str
    body: str


def upsert_pull(text: PullRequestText, environment: Mapping[str, str]) -> CommentResult:
    """Opens or updates the pull request of a branch, against the default branch."""
    from github import GithubException

    with open_repository(environment) as repository:
        if login_of(repository) == BOT:
            text = replace(text, body=text.body + APPROVAL)
        if found := _pulls(repository, environment, text.branch, "open"):
            return _update(found[0], text)
        try:
            made = repository.create_pull(repository.default_branch, text.branch, title=text.title, body=text.body)
        except GithubException as error:
            # The first try was carried out although its answer got lost.
            if error.status == 422 and (found := _pulls(repository, environment, text.branch, "open")):
                return _update(found[0], text)
            raise
        return CommentResult("pull request opened", made.html_url)


def closed_before(text: PullRequestText, environment: Mapping[str, str]) -> str:
    """Return the URL of the pull request of this title that was closed unmerged, or ""."""
    with open_repository(environment) as repository:
        if _pulls(repository, environment, text.branch, "open"):
            return ""
        closed = _pulls(repository, environment, text.branch, "closed")
        return next((one.html_url for one in closed if one.title == text.title and not one.merged_at), "")


def origin_of(environment: Mapping[str, str]) -> str:
    """Return owner/name of this repository's template or parent, or ""."""
    with open_repository(environment) as repository:
        source = repository.template_repository or repository.parent
        return source.full_name if source else ""


def _pulls(repository: Repository, environment: Mapping[str, str], branch: str, state: str) -> list[PullRequest]:
    owner = environment["GITHUB_REPOSITORY"].partition("/")[0]
    return list(repository.get_pulls(state=state, head=f"{owner}:{branch}"))


def _update(pull: PullRequest, text: PullRequestText) -> CommentResult:
    if (pull.title, pull.body) == (text.title, text.body):
        return CommentResult("pull request unchanged", pull.html_url)
    pull.edit(title=text.title, body=text.body)
    return CommentResult("pull request updated", pull.html_url)
