"""`sluice train`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import HERE, OnOption, WatchOption, elsewhere
from sluice.core.workspace import Workspace


def train(
    on: OnOption = HERE,
    watch: WatchOption = False,
    env: Annotated[str, typer.Option(help="Elsewhere: environment whose champion the gates compare with.")] = "",
    rows: Annotated[Path | None, typer.Option(help="Rows to learn from; default: data/train.jsonl.")] = None,
    index: Annotated[Path | None, typer.Option(help="Folder of the index; default: build/index.")] = None,
    base: Annotated[
        Path | None, typer.Option(help="GGUF file or folder of safetensors; default: the chat model.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: build/adapter.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints; default: .sluice/checkpoints.")
    ] = None,
    track: Annotated[bool, typer.Option("--track", help="Log the run to MLflow; a release logs its own.")] = False,
) -> None:
    """Fine-tune the adapter (pipeline stage), or have other machines do it for the tree as it is.

    Under torchrun, each process is one such call. A run elsewhere is known by what goes into it: the same command
    picks up one that was started before, and pays for none twice. Exit code 3 when its gates refused the adapter."""
    if on == HERE:
        from sluice.extras.finetune.stage import run

        run(Workspace.find(), rows=rows, index=index, base=base, out=out, checkpoints=checkpoints, track=track)
        return
    if track or any((rows, index, base, out, checkpoints)):
        raise typer.BadParameter("paths and --track are for training here; elsewhere the settings say what a run gets")
    elsewhere("train", on)(Workspace.find(), follow=watch, env=env)


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command()(train)
