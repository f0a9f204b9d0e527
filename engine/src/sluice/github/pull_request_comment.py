"""One comment on a pull request: created once, found again and updated by later runs.

A hidden marker in its first line and its author identify it, so that no other person's comment is ever overwritten. Two
runs may do this concurrently: the run that sees an older comment updates that one and deletes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import sleep as wait
from typing import Any

from sluice.github.github_api import GitHub, GitHubStatusError
from sluice.github.hidden_marker import author, marked, ours, run_of
from sluice.github.run_pull_request import PullRequest, find_pull_request


@dataclass(frozen=True)
class CommentResult:
    """`url` of the comment; None when there is none, and `message` says why."""

    message: str
    url: str | None = None


def upsert_comment(
    markdown: str, environment: Mapping[str, str], *, marker: str, sleep: Callable[[float], None] = wait
) -> CommentResult:
    """Creates or updates the comment that `marker` (a word) names, on the pull request of this run.

    A token that may only read, as a pull request from a fork has, is no failure: nothing is posted, and the message
    says so. A comment that a later run wrote stays. Everything else that GitHub refuses is a SluiceError.
    """
    pull = find_pull_request(environment)
    if pull is None:
        return CommentResult("no comment: this run is not of a pull request")
    with GitHub(environment, sleep=sleep) as github:
        try:
            return _upsert(github, pull, marked(markdown, marker, pull.run), marker)
        except GitHubStatusError as error:
            if error.status != 403:
                raise
            return CommentResult(
                f"no comment: the token may not write ({error.reason}), as on a pull request from a fork; "
                "the comparison is in the job summary"
            )


def _upsert(github: GitHub, pull: PullRequest, body: str, marker: str) -> CommentResult:
    login = author(github)
    for _ in range(2):  # the comment may be deleted between being found and being updated
        found = _find(github, pull, marker, login)
        if not found:
            break
        if _later(found[0], marker, pull):
            return CommentResult("no comment: a later run has commented already", found[0]["html_url"])
        try:
            posted = github.call("PATCH", _path(pull, found[0]), {"body": body})
        except GitHubStatusError as error:
            if error.status != 404:
                raise
            continue
        _remove(github, pull, found[1:])
        return CommentResult("comment updated", posted["html_url"])
    mine = github.call("POST", f"/repos/{pull.repository}/issues/{pull.number}/comments", {"body": body})
    found = _find(github, pull, marker, login)
    if not found or found[0]["id"] >= mine["id"]:
        return CommentResult("comment created", mine["html_url"])
    # Another run was quicker, or the first try was carried out although its answer got lost.
    if not _later(found[0], marker, pull):
        github.call("PATCH", _path(pull, found[0]), {"body": body})
    _remove(github, pull, [mine])
    return CommentResult("comment updated", found[0]["html_url"])


def _find(github: GitHub, pull: PullRequest, marker: str, login: str) -> list[dict[str, Any]]:
    """Our comments, oldest first."""
    return ours(github.listed(f"/repos/{pull.repository}/issues/{pull.number}/comments"), marker, login)


def _later(comment: Mapping[str, Any], marker: str, pull: PullRequest) -> bool:
    return (run_of(comment["body"], marker) or (0, 0)) > pull.run


def _remove(github: GitHub, pull: PullRequest, comments: list[dict[str, Any]]) -> None:
    for comment in comments:
        try:
            github.call("DELETE", _path(pull, comment))
        except GitHubStatusError as error:
            if error.status != 404:  # the other run was quicker
                raise


def _path(pull: PullRequest, comment: Mapping[str, Any]) -> str:
    return f"/repos/{pull.repository}/issues/comments/{comment['id']}"
