"""The issue of a scheduled run: opened when a job fails, closed when all jobs pass again."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.github.markdown_table import table
from sluice.github.marked_text import CommentResult
from sluice.github.tracked_issue import close_issue, upsert_issue
from sluice.github.workflow_run import jobs_of, run_url


def report_trouble(title: str, needs: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Opens or updates the issue while a job fails; closes it when all succeeded.

    A job is skipped where the repository lacks what it needs, or because another failed: it says nothing by itself. One
    that ran out of time or lost its runner is `cancelled`, and trouble; a run that a person cancels does not get here.

    Args:
        title: Of the issue.
        needs: The context `needs` of the job, as JSON.
        environment: The variables of GitHub Actions, with GITHUB_TOKEN.
        marker: A word that is the issue's own.

    Raises:
        SluiceError: `needs` is not that context, or GitHub refuses.
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
