"""`sluice sweep`: searches for better values of section `train` in pipelines/params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace


def sweep(
    base: Annotated[
        Path | None, typer.Option(help="GGUF file or folder of safetensors; default: the chat model.")
    ] = None,
) -> None:
    """Search the space of section `sweep` of pipelines/params.yaml for training parameters, by the loss on held
    training rows.

    The same command goes on where a killed one stopped. It ends with all trials, best first, and the command that
    adopts the best; nothing is changed by itself."""
    from sluice.extras.sweep.run_sweep import run

    found = run(Workspace.find(), base=base)
    print(found.table())
    print(f"MLflow run {found.run}, with a child run for each trial")
    if adoption := found.adoption():
        print(f"adopt the best: {adoption}")
    else:
        print("the present values of pipelines/params.yaml are the best: there is nothing to adopt")


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command()(sweep)
