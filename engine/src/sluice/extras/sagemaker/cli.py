"""`sluice endpoint ...`"""

from __future__ import annotations

from collections.abc import Mapping

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
    from sluice.extras.sagemaker.aws_clients import client
    from sluice.extras.sagemaker.endpoint import deploy
    from sluice.extras.sagemaker.settings import require

    settings = require(Workspace.find().config)
    print(deploy(client("sagemaker", settings.region), client("cloudwatch", settings.region), settings, print))


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.add_typer(group, name="endpoint")
