"""The `sluice endpoint` commands, and `sluice gates judge` for a job that evaluates two sides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Deploy to a SageMaker endpoint, if one serves instead of a cluster.")


@group.command("deploy")
def endpoint_deploy() -> None:
    """Deploy the last approved model package, blue/green, and roll back if an alarm fires.

    Exit code 1 if it was rolled back or couldn't be created; the live one stays live."""
    from sluice.core.settings import load_settings
    from sluice.extras.sagemaker.endpoint import deploy
    from sluice.extras.sagemaker.settings import require
    from sluice.serving.settings import ServiceSettings

    config = Workspace.find().config
    service = load_settings(config / "service.yaml", ServiceSettings)
    print(deploy(require(config), print, context=service.llm.context))


def gates_judge(
    evaluation: Annotated[Path, typer.Argument(help="Folder of the evaluation.")],
    against: Annotated[Path, typer.Option(help="Folder of the live release's evaluation, on the same cases.")],
    out: Annotated[Path, typer.Option(help="File for the verdicts.")],
) -> None:
    """Judge an evaluation by the gates and by comparison with the live one; a refusal exits with 0 too."""
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
