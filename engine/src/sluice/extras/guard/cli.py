"""The `sluice guard` commands."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Train the guard model.")


@group.command("train")
def guard_train() -> None:
    """Train the guard model on data/guard and judge it on held-out rows (pipeline stage)."""
    from sluice.extras.guard.guard_stage import run
    from sluice.release import starter

    workspace = Workspace.find()
    if not starter.take(workspace, "guard"):
        print_json(run(workspace))


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.add_typer(group, name="guard")
