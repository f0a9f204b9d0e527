"""One comment on a pull request: created once, found again and updated by later runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.github_client import CommentResult, GitHubStatusError, login_of, needed, open_repository
from sluice.github.tracked_issue import MarkedTexts, marked
from sluice.github.workflow_run import run_url, this_run

MARKER = "comparison"

_MESSAGES = {
    "created": "comment created",
    "updated": "comment updated",
    "later": "no comment: a later run has commented already",
}


def upsert_comment(markdown: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Creates or updates the comment that `marker` names, on the pull request of this run."""
    number = pull_request_of(environment)
    if number is None:
        return CommentResult("no comment: this run is not of a pull request")
    run = this_run(environment)
    body = marked(markdown, marker, run)
    try:
        with open_repository(environment) as repository:
            issue = repository.get_issue(number)
            texts = MarkedTexts(
                marker,
                run,
                login_of(repository),
                read=issue.get_comments,
                create=lambda: issue.create_comment(body),
                edit=lambda comment: comment.edit(body),
                remove=lambda comment: comment.delete(),
            )
            comment, done = texts.upsert()
            return CommentResult(_MESSAGES[done], comment.html_url)
    except GitHubStatusError as error:
        if error.status != 403:
            raise
        return CommentResult(
            f"no comment: the token may not write ({error.message}), as on a pull request from a fork; "
            "the comparison is in the job summary"
        )


def comparison_text(file: Path, report: str, environment: Mapping[str, str]) -> str:
    """The comment on a comparison: the verdict, and below it which commit it is about and where all of it is; a hidden
    line says the verdict to programs."""
    from sluice.extras.pull_requests.comment_verdict import verdict_line  # the job `plan` has the bare Python

    text = file.read_text(encoding="utf-8") if file.is_file() else "## ! Not compared\n\nThe run ended before that.\n"
    title, _, rest = text.partition("\n\n")
    parts = [f"[Open the report]({report}): every case with both answers"] if report else []
    parts += [f"[run]({url})"] if (url := run_url(environment)) else []
    parts += [f"for {head}"] if (head := head_of(environment)) else []
    return "\n\n".join([title, verdict_line(file.parent, head), *filter(None, [" · ".join(parts)]), rest])


def pull_request_of(environment: Mapping[str, str]) -> int | None:
    """The number of the pull request that the run is of, or of a comment on; None when it is of something else.

    SluiceError when GITHUB_EVENT_PATH is missing or broken.
    """
    event = _event_of(environment)
    issue = event.get("issue") or {}
    found = event.get("pull_request") or (issue if issue.get("pull_request") else {})
    number: int | None = found.get("number")
    return number


def head_of(environment: Mapping[str, str]) -> str:
    """The newest commit of the pull request; empty for a run of something else. What is checked out is its merge."""
    head = (_event_of(environment).get("pull_request") or {}).get("head") or {}
    return str(head.get("sha") or "")


def _event_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """What has started the run, as GitHub describes it. SluiceError when GITHUB_EVENT_PATH is missing or broken."""
    path = Path(needed(environment, "GITHUB_EVENT_PATH"))
    try:
        event: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SluiceError(f"GITHUB_EVENT_PATH: {path}: {error}") from None
    return event if isinstance(event, dict) else {}
