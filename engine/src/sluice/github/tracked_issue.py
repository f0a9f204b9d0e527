"""One issue for one problem: opened once, updated while the problem lasts, closed when it is solved.

An issue that a person closed stays closed: if the problem returns, a new issue is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sluice.github.github_client import login_of, open_repository
from sluice.github.markdown_table import table
from sluice.github.marked_text import CommentResult, MarkedTexts, marked
from sluice.github.workflow_run import jobs_of, run_url, this_run

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

TITLE_LIMIT = 256
_MESSAGES = {
    "created": "issue opened",
    "updated": "issue updated",
    "later": "issue left as it is: a later run has written it",
}


def upsert_issue(title: str, markdown: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Opens or updates the issue that `marker` names. Needs the right `issues: write`."""
    with open_repository(environment) as repository:
        issue, done = _issues(repository, environment, marker, _one_line(title), markdown).upsert()
        return CommentResult(_MESSAGES[done], issue.html_url)


def close_issue(markdown: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Closes the open issue that `marker` names; without one, does nothing."""
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
    """Opens or updates the issue while a job fails; closes it when all succeeded.

    A job is skipped where the repository lacks what it needs, or because another failed: it says nothing by itself. One
    that ran out of time or lost its runner is `cancelled`, and trouble; a run that a person cancels does not get here.
    """
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


def _one_line(title: str) -> str:
    shown = " ".join(title.split())
    return shown if len(shown) <= TITLE_LIMIT else shown[: TITLE_LIMIT - 1] + "…"
