"""What several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

Fault = Annotated[str, typer.Option(help="Drill: inject `delay=SECONDS` or `error=SHARE` into the canary.")]
PortOption = Annotated[int, typer.Option(help="Port on the loopback address.")]


def find_release(workspace: Workspace, release: str) -> tuple[Any, Path]:
    """A release's manifest and folder; without an id, the champion's."""
    from sluice.release import champion
    from sluice.release.manifest import load

    chosen = release or champion.champion_id(workspace)
    if not chosen:
        raise SluiceError("there is no champion yet", remedy="run `make release` first")
    folder = workspace.releases / chosen
    if not folder.is_dir():
        raise SluiceError(f"{folder}: no such release", remedy="`sluice release list` names those of this machine")
    return load(folder), folder


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
