"""One comment on a pull request. The job `plan` marks it before anything is installed: standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.github_client import (
    BOT,
    CommentResult,
    GitHubStatusError,
    ask_api,
    login_of,
    needed,
    open_repository,
)
from sluice.github.tracked_issue import MarkedTexts, marked, run_of
from sluice.github.workflow_run import run_url, this_run

MARKER = "comparison"

_MESSAGES = {
    "created": "comment created",
    "updated": "comment updated",
    "later": "no comment: a later run has commented already",
}
_NOTICE = "> **Outdated.** "
_PAGE = 100


def upsert_comment(markdown: str, environment: Mapping[str, str]) -> CommentResult:
    number = pull_request_of(environment)
    if number is None:
        return CommentResult("no comment: this run is not of a pull request")
    run = this_run(environment)
    body = marked(markdown, MARKER, run)
    try:
        with open_repository(environment) as repository:
            issue = repository.get_issue(number)
            texts = MarkedTexts(
                MARKER,
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


def pull_request_of(environment: Mapping[str, str]) -> int | None:
    """Return the number of the run's pull request, if any."""
    event = _event_of(environment)
    issue = event.get("issue") or {}
    found = event.get("pull_request") or (issue if issue.get("pull_request") else {})
    number: int | None = found.get("number")
    return number


def head_of(environment: Mapping[str, str]) -> str:
    """Return the newest commit of the run's pull request, or "". What is checked out is its merge."""
    head = (_event_of(environment).get("pull_request") or {}).get("head") or {}
    return str(head.get("sha") or "")


def _event_of(environment: Mapping[str, str]) -> dict[str, Any]:
    path = Path(needed(environment, "GITHUB_EVENT_PATH"))
    try:
        event: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SluiceError(f"GITHUB_EVENT_PATH: {path}: {error}") from None
    return event if isinstance(event, dict) else {}


def mark_outdated(environment: Mapping[str, str], *, compares: bool) -> str:
    """Put a notice above the comparison of an earlier run."""
    number = pull_request_of(environment)
    if number is None:
        return "nothing is outdated: this run is not of a pull request"
    place, run = f"/repos/{needed(environment, 'GITHUB_REPOSITORY')}/issues", this_run(environment)
    comments = _comments(f"{place}/{number}/comments", environment)
    ours = [one for one in comments if (one["user"] or {}).get("login") == BOT and run_of(one["body"])[0] == MARKER]
    if not ours:
        return "nothing is outdated: there is no comparison yet"
    comment = min(ours, key=lambda one: int(one["id"]))
    if run_of(comment["body"])[1] >= run:
        return "nothing is outdated: a later run has commented already"
    old = comment["body"].split("\n", 1)[1]
    if old.startswith(_NOTICE):
        old = old.split("\n\n", 1)[1]
    text = marked(f"{_notice(environment, compares=compares)}\n\n{old}", MARKER, run)
    ask_api("PATCH", f"{place}/comments/{comment['id']}", environment, {"body": text})
    return f"outdated: {comment['html_url']}"


def _notice(environment: Mapping[str, str], *, compares: bool) -> str:
    here, head = f"{_NOTICE}[This run]({run_url(environment)})", head_of(environment)
    if compares:
        return f"{here} compares {head} now. Until it has, this is what an earlier run found."
    what = f"{here} compares nothing: at {head} nothing is changed that an answer depends on."
    return f"{what} This is what an earlier run found."


def _comments(path: str, environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for page in count(1):
        found = ask_api("GET", f"{path}?per_page={_PAGE}&page={page}", environment)
        yield from found
        if len(found) < _PAGE:
            return
