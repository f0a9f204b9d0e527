"""The `sluice comment` command, which posts a comparison as the pull request's one comment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer


def comment(
    report: Annotated[str, typer.Option(help="URL of report.html.", envvar="REPORT")] = "",
) -> None:
    """Post or update build/comparison/comment.md as the pull request's one comment, and link the report in the job
    summary (in GitHub Actions)."""
    from sluice.cli.common import tell
    from sluice.core.workspace import Workspace
    from sluice.evaluation.reports.comparison_page import COMMENT
    from sluice.extras.pull_requests.comment_verdict import comparison_text
    from sluice.extras.pull_requests.pull_request_comment import upsert_comment

    text = comparison_text(Workspace.find().build / "comparison" / COMMENT, report, os.environ)
    if report:
        tell(f"[Open the report]({report})\n")
    print(upsert_comment(text, os.environ).message)


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command()(comment)
