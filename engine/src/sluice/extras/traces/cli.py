"""`sluice traces push`"""

from __future__ import annotations

from collections.abc import Mapping

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace


def traces_push() -> None:
    """Load what the service has written to .sluice/traces/ into the MLflow that this checkout uses."""
    from dataclasses import asdict

    from sluice.core.settings import load_settings
    from sluice.extras.traces.mlflow_import import push
    from sluice.serving.telemetry.settings import TelemetrySettings

    workspace = Workspace.find()
    settings = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings).traces.mlflow
    print_json(asdict(push(workspace, settings.experiment)))


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    group = typer.Typer(no_args_is_help=True, help="Load the traces of the service into MLflow.")
    group.command("push")(traces_push)
    app.add_typer(group, name="traces")
