"""What several commands share."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace


class Where(StrEnum):
    """Whose machines do the work."""

    HERE = "here"
    SAGEMAKER = "sagemaker"


# Without it a command is about this machine.
EnvOption = Annotated[str, typer.Option("--env", help="Environment of the shared record; default: this machine.")]
Fault = Annotated[str, typer.Option(help="Drill: inject `delay=SECONDS` or `error=SHARE` into the canary.")]
PortOption = Annotated[int, typer.Option(help="Port on the loopback address.")]


def find_release(workspace: Workspace, release: str, env: str = "") -> tuple[Any, Path]:
    """A release's manifest and folder; without an id, the champion's of the environment. What is not on this machine
    is brought from the place that SLUICE_ARTEFACTS names."""
    from sluice.release import champion
    from sluice.release.catalogue import bring_release
    from sluice.release.manifest import load
    from sluice.release.record import PLACE, open_record, shared_place

    chosen = release or champion.champion_id(open_record(workspace, env, os.environ))
    if not chosen:
        where = f" of {env}" if env else ""
        raise SluiceError(f"there is no champion{where} yet", remedy="run `make release` first")
    folder = workspace.releases / chosen
    if folder.is_dir():
        return load(folder), folder
    if os.environ.get(PLACE):
        return bring_release(shared_place(os.environ), workspace, chosen)
    raise SluiceError(f"{folder}: no such release", remedy="`sluice release list` names those of this machine")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
