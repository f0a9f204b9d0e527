"""One comment on a pull request: created once, found again and updated by later runs."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.github.github_client import GitHubStatusError, login_of, open_repository
from sluice.github.marked_text import CommentResult, MarkedTexts, marked
from sluice.github.workflow_run import pull_request_of, this_run

_MESSAGES = {
    "created": "comment created",
    "updated": "comment updated",
    "later": "no comment: a later run has commented already",
}


def upsert_comment(markdown: str, environment: Mapping[str, str], *, marker: str) -> CommentResult:
    """Creates or updates the comment that `marker` names, on the pull request of this run.

    Args:
        markdown: Its text; cut where it is longer than GitHub takes.
        environment: The variables of GitHub Actions, with GITHUB_TOKEN.
        marker: A word that is the comment's own.

    Returns:
        What was done. A token that may only read, as a pull request from a fork has, is no failure.

    Raises:
        SluiceError: A variable is missing, or GitHub refuses anything else.
    """
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
