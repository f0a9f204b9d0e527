"""`sluice params`: values of pipelines/params.yaml."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.core.settings import Settings
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="The parameters of the stages.")


@group.command("set")
def set_values(
    assignments: Annotated[
        list[str], typer.Argument(help="section.key=value, such as train.steps=144.", envvar="PARAMETERS")
    ],
) -> None:
    """Set values in pipelines/params.yaml, checked as the stages read them; comments stay."""
    from sluice.core.params import set_params
    from sluice.evaluation.asked_rows import EvaluateParameters
    from sluice.extras.finetune.parameters import TrainingParameters
    from sluice.extras.redteam.drill import RedTeamParameters
    from sluice.extras.sweep.space import SweepSettings
    from sluice.jobs.release import RehearsalParameters
    from sluice.retrieval.stage import IndexParameters

    models: dict[str, type[Settings]] = {
        "index": IndexParameters,
        "train": TrainingParameters,
        "sweep": SweepSettings,
        "evaluate": EvaluateParameters,
        "rehearsal": RehearsalParameters,
        "redteam": RedTeamParameters,
    }
    workspace = Workspace.find()
    set_params(workspace.params, assignments, models)
    print(f"{workspace.params.relative_to(workspace.root)}: {', '.join(assignments)}")
