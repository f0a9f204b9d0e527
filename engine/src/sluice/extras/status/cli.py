"""`sluice status`"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from sluice.cli.common import EnvOption, print_json
from sluice.core.workspace import Workspace

METRICS_KEY = "SLUICE_METRICS_KEY"


def status(
    env: EnvOption = "",
    url: Annotated[str, typer.Option(help="The service.")] = "http://127.0.0.1:8080",
    prometheus: Annotated[str, typer.Option(help="Address of a Prometheus: 30 days, every pod, alerts.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """What is live, how it does, what was decided last, and how much of the error budget is left.

    A service with API keys shows its figures to a key with the scope metrics, in SLUICE_METRICS_KEY."""
    from sluice.extras.status.status_table import show
    from sluice.extras.status.workspace_status import read_status
    from sluice.release.environment_record import open_record

    workspace = Workspace.find()
    record = open_record(workspace, env, os.environ)
    found = read_status(workspace, record, url, os.environ.get(METRICS_KEY, ""), prometheus)
    if as_json:
        print_json(found.as_dict())
    else:
        show(found)


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command("status")(status)
