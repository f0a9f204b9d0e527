"""The `sluice params` commands."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.core.settings import Settings
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Set the parameters of the stages.")


@group.command("set")
def set_values(
    assignments: Annotated[
        list[str], typer.Argument(help="section.key=value, such as train.steps=144.", envvar="PARAMETERS")
    ],
) -> None:
    """Set values in pipelines/params.yaml, validated as the stages read them; comments stay."""
    from sluice.core.extras import extras, load
    from sluice.core.params import set_params
    from sluice.evaluation.asked_rows import EvaluateParameters
    from sluice.jobs.release_job import RehearsalParameters
    from sluice.retrieval.index_stage import IndexParameters

    models: dict[str, type[Settings]] = {
        "index": IndexParameters,
        "evaluate": EvaluateParameters,
        "rehearsal": RehearsalParameters,
    }
    for name, extra in extras().items():
        models |= {section: load(name, reference) for section, reference in extra.parameters.items()}
    workspace = Workspace.find()
    set_params(workspace.params, assignments, models)
    print(f"{workspace.params.relative_to(workspace.root)}: {', '.join(assignments)}")
