"""One issue for one problem: opened once, updated while the problem lasts, closed when it is solved.

A hidden marker in its first line and its author identify it among the open issues. An issue that a person closed stays
closed: if the problem returns, a new issue is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import sleep as wait
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.github_api import GitHub, GitHubStatusError
from sluice.github.hidden_marker import author, marked, ours, run_of
from sluice.github.pull_request_comment import CommentResult
from sluice.github.workflow_run import this_run

TITLE_LIMIT = 256
_GONE = 410


def upsert_issue(
    title: str, markdown: str, environment: Mapping[str, str], *, marker: str, sleep: Callable[[float], None] = wait
) -> CommentResult:
    """Opens or updates the issue that `marker` (a word) names. What a later run wrote stays.

    Needs the right `issues: write`. Whatever GitHub refuses is a SluiceError: nobody would hear of the failure.
    """
    content = {"title": _one_line(title), "body": marked(markdown, marker, this_run(environment))}
    with _Issues(environment, marker, sleep) as issues:
        if found := issues.open():
            return issues.update(found, content)
        mine = issues.create(content)
        first = issues.open()[:1]
        if not first or first[0]["number"] >= mine["number"]:
            return CommentResult("issue opened", mine["html_url"])
        # Another run was quicker, or the first try was carried out although its answer got lost.
        return issues.update([first[0], mine], content)


def close_issue(
    markdown: str, environment: Mapping[str, str], *, marker: str, sleep: Callable[[float], None] = wait
) -> CommentResult:
    """Closes the open issue that `marker` names, with `markdown` as its last comment; without one, does nothing."""
    with _Issues(environment, marker, sleep) as issues:
        found = issues.open()
        if not found:
            return CommentResult("no issue is open")
        if issues.later(found[0]):
            return CommentResult("the issue stays open: a later run has written it", found[0]["html_url"])
        issues.comment(found[0], markdown)
        for issue in found:
            issues.close(issue, "completed")
        return CommentResult("issue closed", found[0]["html_url"])


class _Issues:
    """The issues of one repository under one marker."""

    def __init__(self, environment: Mapping[str, str], marker: str, sleep: Callable[[float], None]) -> None:
        repository = environment.get("GITHUB_REPOSITORY")
        if not repository:
            raise SluiceError("GITHUB_REPOSITORY is not set", remedy="GitHub Actions sets it; run this in a workflow")
        self._path = f"/repos/{repository}/issues"
        self._marker = marker
        self._run = this_run(environment)
        self._github = GitHub(environment, sleep=sleep)
        self._login = ""

    def __enter__(self) -> _Issues:
        self._github.__enter__()
        self._login = author(self._github)
        return self

    def __exit__(self, *error: Any) -> None:
        self._github.__exit__(*error)

    def open(self) -> list[dict[str, Any]]:
        """Oldest first. GitHub lists pull requests among the issues; they are none."""
        try:
            listed = self._github.listed(f"{self._path}?state=open")
        except GitHubStatusError as error:
            if error.status == _GONE:
                raise SluiceError(error.message, remedy="switch issues on: Settings, General, Features") from None
            raise
        return ours([one for one in listed if "pull_request" not in one], self._marker, self._login)

    def later(self, issue: Mapping[str, Any]) -> bool:
        return (run_of(issue["body"], self._marker) or (0, 0)) > self._run

    def create(self, content: Mapping[str, str]) -> dict[str, Any]:
        created: dict[str, Any] = self._github.call("POST", self._path, content)
        return created

    def update(self, found: list[dict[str, Any]], content: Mapping[str, str]) -> CommentResult:
        """The first one gets the content, unless a later run wrote it; the others are closed: none can be deleted."""
        for double in found[1:]:
            self.close(double, "not_planned")
        if self.later(found[0]):
            return CommentResult("issue left as it is: a later run has written it", found[0]["html_url"])
        updated = self._github.call("PATCH", f"{self._path}/{found[0]['number']}", content)
        return CommentResult("issue updated", updated["html_url"])

    def comment(self, issue: Mapping[str, Any], markdown: str) -> None:
        self._github.call("POST", f"{self._path}/{issue['number']}/comments", {"body": markdown})

    def close(self, issue: Mapping[str, Any], reason: str) -> None:
        self._github.call("PATCH", f"{self._path}/{issue['number']}", {"state": "closed", "state_reason": reason})


def _one_line(title: str) -> str:
    shown = " ".join(title.split())
    return shown if len(shown) <= TITLE_LIMIT else shown[: TITLE_LIMIT - 1] + "…"
