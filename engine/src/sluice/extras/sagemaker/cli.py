"""`sluice endpoint ...`, and the verdict of a job that evaluates two sides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="An endpoint of SageMaker, where one serves in place of a cluster.")


@group.callback()
def _commands() -> None:
    """One command is a group all the same: others will stand beside it under the same noun."""


@group.command("deploy")
def endpoint_deploy() -> None:
    """Serve the model package that was approved last: blue/green, and back when an alarm rings.

    Exit code 1 when it was taken back or could not be made; what was live stays."""
    from sluice.extras.sagemaker.endpoint import deploy
    from sluice.extras.sagemaker.endpoint_account import EndpointAccount
    from sluice.extras.sagemaker.settings import require

    print(deploy(EndpointAccount.open(require(Workspace.find().config)), print))


def gates_judge(
    evaluation: Annotated[Path, typer.Argument(help="Folder of an evaluation.")],
    against: Annotated[Path, typer.Option(help="Folder of the evaluation of what is live, on the same cases.")],
    out: Annotated[Path, typer.Option(help="File for the verdicts.")],
) -> None:
    """Let the gates and the comparison with what is live judge an evaluation. A refusal is a result: exit code 0."""
    from sluice.core.atomic_files import write_json
    from sluice.release.decision import decide_release

    verdicts = decide_release(Workspace.find().config / "gates.yaml", evaluation, against)
    refused = [verdict.gate for verdict in verdicts if not verdict.passed]
    record = {
        "passed": bool(verdicts) and not refused,
        "refused_by": ", ".join(refused),
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
    }
    write_json(out, record)
    print(f"refused by {record['refused_by']}" if refused else "every gate passed")


def register(app: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    # sagemaker-mlflow 0.5.0 takes the address of every server for an ARN and warns at each request that it is none
    # (mlflow_sagemaker_request_header_provider.py, request_headers).
    headers = logging.getLogger("mlflow.tracking.request_header.registry")
    headers.addFilter(lambda record: "list index out of range" not in record.getMessage())
    app.add_typer(group, name="endpoint")
    groups["gates"].command("judge")(gates_judge)
