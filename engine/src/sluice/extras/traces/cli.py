"""The `sluice traces push` command."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace


def traces_push() -> None:
    """Load the service's traces in .sluice/traces/ into this checkout's MLflow."""
    from dataclasses import asdict

    from sluice.core.settings import load_settings
    from sluice.extras.traces.mlflow_import import push
    from sluice.serving.telemetry.settings import TelemetrySettings

    workspace = Workspace.find()
    settings = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings).traces.mlflow
    print_json(asdict(push(workspace, settings.experiment)))


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    group = typer.Typer(no_args_is_help=True, help="Load the service's traces into MLflow.")
    group.command("push")(traces_push)
    app.add_typer(group, name="traces")
