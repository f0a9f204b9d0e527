"""The `sluice canary` commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Judge a canary that runs beside stable.")
# The same variable as for the load stage: one Secret holds the key of both Jobs.
KEY = "SLUICE_LOAD_KEY"


@group.command("quality")
def canary_quality(
    stable: Annotated[str, typer.Option(help="URL of stable.")],
    canary: Annotated[str, typer.Option(help="URL of the canary.")],
    cases: Annotated[int, typer.Option(help="Number of questions, half of them unanswerable; 0: all.", min=0)] = 0,
    concurrency: Annotated[int, typer.Option(help="Concurrent questions per side.", min=1)] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds until a request counts as failed.", min=1)] = 30,
    release: Annotated[
        Path | None, typer.Option(help="Release folder with `judging` and `config`; default: this checkout.")
    ] = None,
    questions: Annotated[Path | None, typer.Option(help="File of rows; default: the release's or checkout's.")] = None,
    gates: Annotated[
        Path | None, typer.Option(help="File with `comparison:`; default: the release's or checkout's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the verdicts and the whole comparison.")] = None,
) -> None:
    """Ask stable and canary the same questions and compare the answers.

    Fails if the canary's answers are worse. If the services require an API key, set SLUICE_LOAD_KEY; both use it."""
    from sluice.core.atomic_files import write_json
    from sluice.core.errors import GateFailed
    from sluice.core.progress import StageReporter
    from sluice.core.settings import load_settings
    from sluice.data.rows import load_rows
    from sluice.evaluation.comparison_policy import load_policy
    from sluice.evaluation.reports.phrasing import in_the_terminal
    from sluice.release.decision import quality_report, verdicts_of
    from sluice.release.manifest import JUDGING_CASES, JUDGING_GATES
    from sluice.release.verdict import reason_of
    from sluice.rollout.canary_quality import ReleaseClient, compare_served, sample
    from sluice.serving.settings import ServiceSettings

    if release:
        config, gates, questions = (
            release / "config",
            gates or release / JUDGING_GATES,
            questions or release / JUDGING_CASES,
        )
    else:
        workspace = Workspace.find()
        config = workspace.config
        gates, questions = gates or config / "gates.yaml", questions or workspace.data / "eval.jsonl"
    decline = load_settings(config / "service.yaml", ServiceSettings).decline
    rows = sample(load_rows(questions), cases)
    key = os.environ.get(KEY, "")
    progress = StageReporter("quality")
    found = compare_served(
        ReleaseClient(stable, decline, timeout, key),
        ReleaseClient(canary, decline, timeout, key),
        rows,
        load_policy(gates),
        concurrency=concurrency,
        on_progress=lambda done, total: progress.report(done, total, "answers"),
    )
    if out:
        write_json(out, quality_report(found))
    print(in_the_terminal(found))
    if not found.passed:
        raise GateFailed(reason_of(verdicts_of(found, "quality")))
