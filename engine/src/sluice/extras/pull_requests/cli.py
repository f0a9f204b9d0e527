"""`sluice comment`: the comparison of a pull request, as its one comment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer


def comment(
    report: Annotated[str, typer.Option(help="Address of report.html.", envvar="REPORT")] = "",
) -> None:
    """In GitHub Actions: put build/comparison/comment.md on the pull request, as the one comment that is kept up to
    date, and the address of the report into the job summary."""
    from sluice.cli.common import tell
    from sluice.core.workspace import Workspace
    from sluice.evaluation.reports import COMMENT
    from sluice.extras.pull_requests.pull_request_comment import MARKER, comparison_text, upsert_comment

    text = comparison_text(Workspace.find().build / "comparison" / COMMENT, report, os.environ)
    if report:
        tell(f"[Open the report]({report})\n")
    print(upsert_comment(text, os.environ, marker=MARKER).message)


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command()(comment)
