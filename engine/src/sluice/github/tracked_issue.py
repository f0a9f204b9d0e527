"""One issue for one problem: opened once, updated while the problem lasts, closed when it is solved.

An issue that a person closed stays closed. Our texts, comments too, are found by a hidden first line and their
author. Of two runs that write at once, the one that sees an older text updates it and removes its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from sluice.core.text import table
from sluice.github.github_client import CommentResult, cut, login_of, open_repository
from sluice.github.workflow_run import Run, jobs_of, run_url, this_run

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.Repository import Repository

TITLE_LIMIT = 256
_MESSAGES = {
    "created": "issue opened",
    "updated": "issue updated",
    "later": "issue left as it is: a later run has written it",
}
T = TypeVar("T", "Issue", "IssueComment")
LIMIT = 65_536


def upsert_issue(title: str, markdown: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Open or update the issue of a marker. Needs `issues: write`."""
    with open_repository(environment) as repository:
        line = " ".join(title.split())
        line = line if len(line) <= TITLE_LIMIT else f"{line[: TITLE_LIMIT - 1]}…"
        issue, done = _issues(repository, environment, marker, line, markdown).upsert()
        return CommentResult(_MESSAGES[done], issue.html_url)


def close_issue(markdown: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Close the open issue of a marker, if there is one."""
    with open_repository(environment) as repository:
        issues = _issues(repository, environment, marker)
        found = issues.ours()
        if not found:
            return CommentResult("no issue is open")
        if issues.is_later(found[0]):
            return CommentResult("the issue stays open: a later run has written it", found[0].html_url)
        found[0].create_comment(markdown)
        for issue in found:
            issue.edit(state="closed", state_reason="completed")
        return CommentResult("issue closed", found[0].html_url)


def report_trouble(title: str, needs: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Open or update the issue while a job fails; close it when all succeeded.

    A skipped job says nothing. One that ran out of time or lost its runner is `cancelled`; a run that a person
    cancels doesn't get here."""
    results = {job: str(facts.get("result")) for job, facts in jobs_of(needs).items()}
    url = run_url(environment)
    where = f"[This run]({url})" if url else "This run"
    rows = table(("job", "result"), list(results.items()))
    if {"failure", "cancelled"} & set(results.values()):
        body = (
            f"{where} of commit {environment.get('GITHUB_SHA', 'unknown')} failed.\n\n{rows}\n"
            "Each run brings this text up to date; the first one in which every job succeeds closes the issue.\n"
        )
        return upsert_issue(title, body, environment, marker=marker)
    if {"success"} <= set(results.values()) <= {"success", "skipped"}:
        return close_issue(f"{where} succeeded.\n\n{rows}", environment, marker=marker)
    return CommentResult("neither failed nor whole: the issue stays as it is")


def _issues(
    repository: Repository, environment: Mapping[str, str], marker: str, title: str = "", markdown: str = ""
) -> MarkedTexts[Issue]:
    run = this_run(environment)
    body = marked(markdown, marker, run)
    return MarkedTexts(
        marker,
        run,
        login_of(repository),
        # GitHub lists pull requests among the issues; only their addresses tell them apart without a further request.
        read=lambda: (one for one in repository.get_issues(state="open") if one.html_url.split("/")[-2] == "issues"),
        create=lambda: repository.create_issue(title, body),
        edit=lambda issue: issue.edit(title=title, body=body),
        remove=lambda issue: issue.edit(state="closed", state_reason="not_planned"),  # issues cannot be deleted
    )


def marked(markdown: str, marker: str, run: Run) -> str:
    """Return the text behind its hidden line, cut to GitHub's limit."""
    return cut(f"<!-- sluice:{marker} run={run[0]}.{run[1]} -->\n{markdown}", LIMIT, "; it is in the job summary")


def run_of(body: str | None) -> tuple[str, Run]:
    """Return marker and run of one of our texts; of others an empty marker."""
    found = re.match(r"<!-- sluice:(\S+) run=(\d+)\.(\d+) -->", body or "")
    return (found[1], (int(found[2]), int(found[3]))) if found else ("", (0, 0))


@dataclass(frozen=True)
class MarkedTexts(Generic[T]):
    """All texts of one kind in one place; `marker`, a word, and `login` identify ours."""

    marker: str
    run: Run
    login: str
    read: Callable[[], Iterable[T]]
    create: Callable[[], T]
    edit: Callable[[T], Any]
    remove: Callable[[T], Any]

    def ours(self) -> list[T]:
        """Return ours, oldest first."""
        by_us = [one for one in self.read() if one.user and one.user.login == self.login]
        return sorted((one for one in by_us if run_of(one.body)[0] == self.marker), key=lambda one: one.id)

    def is_later(self, text: T) -> bool:
        return run_of(text.body)[1] > self.run

    def upsert(self) -> tuple[T, Literal["created", "updated", "later"]]:
        """Leave one text of ours, this run's or a later one's."""
        found = self.ours()
        if found and (done := self._update(found)):
            return found[0], done
        mine = self.create()
        found = self.ours()
        # An older one: another run was quicker, or the first try was carried out although its answer got lost.
        if found and found[0].id < mine.id and (done := self._update([found[0], mine])):
            return found[0], done
        return mine, "created"

    def _update(self, found: list[T]) -> Literal["updated", "later"] | None:
        """Write the first and remove the others; None if the first was deleted meanwhile."""
        from github import UnknownObjectException

        later = self.is_later(found[0])
        try:
            if not later:
                self.edit(found[0])
        except UnknownObjectException:
            return None
        for double in found[1:]:
            try:
                self.remove(double)
            except UnknownObjectException:  # another run was quicker
                continue
        return "later" if later else "updated"
