"""The `sluice judge calibrate` command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace


def judge_calibrate(
    cases: Annotated[Path | None, typer.Option(help="Labelled answers (.jsonl); default: Sluice's own.")] = None,
) -> None:
    """Compare the judge's grades with people's: agreement, Cohen's kappa and differing cases.

    Fails if the judge agrees less than config/gates.yaml requires."""
    from sluice.extras.calibration.calibrate_judge import CASES, calibrate_bundle, load_calibration
    from sluice.release.gates import Measurement, decide, load_gates, require
    from sluice.serving.release_parts import draft_bundle

    workspace = Workspace.find()
    gates = load_gates(workspace.config / "gates.yaml")
    labelled = load_calibration(cases or CASES)
    summary = calibrate_bundle(draft_bundle(workspace, adapter=None), labelled)
    print_json(summary)
    errors, differ = summary["errors"], [one["id"] for one in summary["disagreements"]]
    kappa = Measurement(summary["kappa"], summary["decided"], len(errors), (*errors, *differ))
    require(decide(gates, "calibration", {"judge_kappa": kappa}, None))


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    group = typer.Typer(no_args_is_help=True, help="Compare the judge model with people.")
    group.command("calibrate")(judge_calibrate)
    app.add_typer(group, name="judge")
