"""`sluice canary ...`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Judge a canary that is being served beside stable.")
# The same variable as for the load stage: one Secret holds the key of both Jobs.
KEY = "SLUICE_LOAD_KEY"


@group.command("quality")
def canary_quality(
    stable: Annotated[str, typer.Option(help="Address of stable.")],
    canary: Annotated[str, typer.Option(help="Address of the canary.")],
    cases: Annotated[int, typer.Option(help="How many of the evaluation cases, evenly spread; 0: all.")] = 0,
    concurrency: Annotated[int, typer.Option(help="Questions at once, of each side.", min=1)] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds; a slower answer counts as failed.", min=1)] = 30,
    release: Annotated[
        Path | None, typer.Option(help="Folder with `judging` and `config` of a release; default: this checkout.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the whole comparison, as JSON.")] = None,
) -> None:
    """Ask stable and canary the same questions and compare the answers; fails when the canary's are worse.

    The key for both, where they ask for one, is in SLUICE_LOAD_KEY."""
    from sluice.app.settings import ServiceSettings
    from sluice.core.errors import GateFailed
    from sluice.core.files import write_json
    from sluice.core.progress import Reporter
    from sluice.core.settings import load_settings
    from sluice.data.rows import load_rows
    from sluice.evaluation.policy import load_policy
    from sluice.evaluation.reports.terminal import in_the_terminal
    from sluice.evaluation.runner import spread
    from sluice.release.manifest import JUDGING_CASES, JUDGING_GATES
    from sluice.rollout.quality import Served, compare_served

    if release:
        config, gates, asked = release / "config", release / JUDGING_GATES, release / JUDGING_CASES
    else:
        workspace = Workspace.find()
        config, gates, asked = workspace.config, workspace.config / "gates.yaml", workspace.data / "eval.jsonl"
    decline = load_settings(config / "service.yaml", ServiceSettings).decline
    rows = spread(load_rows(asked), cases)
    key = os.environ.get(KEY, "")
    progress = Reporter("quality")
    found = compare_served(
        Served(stable, decline, timeout, key),
        Served(canary, decline, timeout, key),
        rows,
        load_policy(gates),
        concurrency=concurrency,
        on_progress=lambda done, total: progress.report(done, total, "answers"),
    )
    if out:
        write_json(out, found.as_dict())
    print(in_the_terminal(found))
    if not found.passed:
        raise GateFailed(f"the canary's answers against stable's: {found.verdict}")
