"""Options and helpers that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.settings import nearest
from sluice.core.workspace import Workspace

HERE = "here"
OnOption = Annotated[str, typer.Option(help="Where: this machine, or the machines of an extra, by its name.")]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="Elsewhere: follow the run, started now or before, and bring its result.")
]

# Without it a command is about this machine.
EnvOption = Annotated[str, typer.Option("--env", help="Environment of the shared record; default: this machine.")]
FaultOption = Annotated[str, typer.Option(help="Drill: inject `delay=SECONDS` or `error=SHARE` into the canary.")]
RemoteOption = Annotated[str, typer.Option(help="Name of a remote in .dvc/config; default: the default one.")]
PortOption = Annotated[int, typer.Option(help="Port on the loopback address.")]


def find_release(workspace: Workspace, release: str, env: str = "") -> tuple[Any, Path]:
    """A release's manifest and folder; without an id, the champion's of the environment. What is not on this machine
    is fetched from the artifact store that SLUICE_ARTEFACTS names."""
    from sluice.release import champion
    from sluice.release.catalogue import bring_release
    from sluice.release.environment_record import PLACE, open_record, shared_artifact_store
    from sluice.release.manifest import load

    chosen = release or champion.champion_id(open_record(workspace, env, os.environ))
    if not chosen:
        where = f" of {env}" if env else ""
        raise SluiceError(f"there is no champion{where} yet", remedy="run `make release` first")
    folder = workspace.releases / chosen
    if folder.is_dir():
        return load(folder), folder
    if os.environ.get(PLACE):
        return bring_release(shared_artifact_store(os.environ), workspace, chosen)
    raise SluiceError(f"{folder}: no such release", remedy="`sluice release list` names those of this machine")


def elsewhere(occasion: str, on: str) -> Callable[..., Any]:
    """What an extra does in place of this machine. SluiceError where none is called `on`.

    Args:
        occasion: The hook: what is done.
        on: Name of the extra.
    """
    there = hooks(occasion)
    if on not in there:
        remedy = f"there is {', '.join((HERE, *there))}"
        raise SluiceError(f"--on {on}: no such place{nearest(on, [HERE, *there])}", remedy=remedy)
    return there[on]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
