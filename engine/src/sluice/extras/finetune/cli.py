"""The `sluice train` and `sluice models card` commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import HERE, OnOption, WatchOption, elsewhere, find_release
from sluice.core.workspace import Workspace

Release = Annotated[str, typer.Argument(help="Release id; default: the champion.")]


def train(
    on: OnOption = HERE,
    watch: WatchOption = False,
    env: Annotated[
        str, typer.Option(help="On other machines: environment whose champion the gates compare with.")
    ] = "",
    base: Annotated[Path | None, typer.Option(help="GGUF file or safetensors folder; default: the chat model.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: build/adapter.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Log the run to MLflow; a release logs its own.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is trained, and how much memory it needs.")
    ] = False,
) -> None:
    """Fine-tune the adapter here (pipeline stage), or train the working tree on other machines.

    Under torchrun, each process is one such call. A run on other machines is identified by its inputs: the same command
    picks up a run that already started, so you never pay twice. Exit code 3 if the gates refuse the adapter. With
    --dry-run nothing is trained: exit code 1 if the settings contradict each other."""
    if dry_run:
        from sluice.extras.finetune.training_plan import plan

        workspace = Workspace.find()
        processes = 1 if on == HERE else elsewhere("training_processes", on)(workspace)
        for line in plan(workspace, processes, base):
            print(line)
        return
    if on == HERE:
        from sluice.extras.finetune.train_stage import run
        from sluice.release import starter

        own = not any((base, out, track))
        if own and starter.take(Workspace.find(), "train"):
            return
        run(Workspace.find(), base=base, out=out, track=track)
        return
    if track or base or out:
        raise typer.BadParameter("paths and --track are for training here; elsewhere the settings say what a run gets")
    elsewhere("train", on)(Workspace.find(), follow=watch, env=env)


def models_card(release: Release = "") -> None:
    """Print the model card of a release's adapter as Markdown, from its records in MLflow."""
    from sluice.extras.finetune.training_record import model_card

    workspace = Workspace.find()
    print(model_card(workspace, find_release(workspace, release)[0]), end="")


def register(app: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    app.command()(train)
    groups["models"].command("card")(models_card)
