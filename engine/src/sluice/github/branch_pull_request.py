"""One pull request for a branch: opened once, found again and updated by later runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import sleep as wait
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.github_api import GitHub, GitHubStatusError
from sluice.github.pull_request_comment import CommentResult

_PER_PAGE = 100


@dataclass(frozen=True)
class PullRequestText:
    """What a pull request shall say. `branch` lies in the repository itself."""

    branch: str
    title: str
    body: str


def upsert_pull(
    pull: PullRequestText, environment: Mapping[str, str], *, sleep: Callable[[float], None] = wait
) -> CommentResult:
    """Opens or updates the pull request of a branch, against the default branch."""
    repository = _repository(environment)
    with GitHub(environment, sleep=sleep) as github:
        if found := _find(github, repository, pull.branch, "open"):
            return _update(github, repository, found[0], pull)
        base = github.call("GET", f"/repos/{repository}")["default_branch"]
        wanted = {"head": pull.branch, "base": base, "title": pull.title, "body": pull.body}
        try:
            made = github.call("POST", f"/repos/{repository}/pulls", wanted)
        except GitHubStatusError as error:
            # The first try was carried out although its answer got lost.
            if error.status == 422 and (found := _find(github, repository, pull.branch, "open")):
                return _update(github, repository, found[0], pull)
            raise
        return CommentResult("pull request opened", made["html_url"])


def closed_before(pull: PullRequestText, environment: Mapping[str, str]) -> str:
    """Address of the pull request of this title that a person has closed without merging it; empty without one."""
    repository = _repository(environment)
    with GitHub(environment) as github:
        if _find(github, repository, pull.branch, "open"):
            return ""
        closed = _find(github, repository, pull.branch, "closed")
    return next((one["html_url"] for one in closed if one["title"] == pull.title and not one.get("merged_at")), "")


def origin_of(environment: Mapping[str, str]) -> str:
    """owner/name of the template or the repository that this one was made from; empty when GitHub knows of none."""
    repository = _repository(environment)
    with GitHub(environment) as github:
        known = github.call("GET", f"/repos/{repository}")
    source = known.get("template_repository") or known.get("parent") or {}
    return str(source.get("full_name", ""))


def _repository(environment: Mapping[str, str]) -> str:
    if repository := environment.get("GITHUB_REPOSITORY"):
        return repository
    raise SluiceError("GITHUB_REPOSITORY is not set", remedy="GitHub Actions sets it; elsewhere: OWNER/NAME")


def _find(github: GitHub, repository: str, branch: str, state: str) -> list[dict[str, Any]]:
    owner = repository.partition("/")[0]
    query = f"state={state}&head={owner}:{branch}&per_page={_PER_PAGE}"
    return list(github.call("GET", f"/repos/{repository}/pulls?{query}"))


def _update(github: GitHub, repository: str, there: Mapping[str, Any], pull: PullRequestText) -> CommentResult:
    if (there["title"], there["body"]) == (pull.title, pull.body):
        return CommentResult("pull request unchanged", there["html_url"])
    changes = {"title": pull.title, "body": pull.body}
    updated = github.call("PATCH", f"/repos/{repository}/pulls/{there['number']}", changes)
    return CommentResult("pull request updated", updated["html_url"])
