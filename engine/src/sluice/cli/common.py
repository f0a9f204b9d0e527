"""Options and helpers that several commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.release.environment_record import EnvironmentRecord

HERE = "here"
OnOption = Annotated[str, typer.Option(help="Place to run: `here`, or the extra that runs it on other machines.")]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="On other machines: follow the new or already started run and fetch its result.")
]

# Without it a command is about this machine.
EnvOption = Annotated[str, typer.Option("--env", help="Environment of the shared record; default: this machine.")]
FaultOption = Annotated[str, typer.Option(help="Drill: inject `delay=SECONDS` or `error=SHARE` into the canary.")]
EnvironmentOption = Annotated[str, typer.Option("--env", help="Environment of the shared record.")]
ReleaseArgument = Annotated[str, typer.Argument(help="Release id.")]
ChampionArgument = Annotated[str, typer.Argument(help="Release id; default: the champion.")]
ReleaseOption = Annotated[str, typer.Option(help="Release id; default: the champion.")]
ImageOption = Annotated[
    str, typer.Option(help="REPOSITORY@sha256:DIGEST; default: the release's image, else the overlay's.")
]
LoadImageOption = Annotated[str, typer.Option(help="The same for the image that judges the canary.")]
ReasonOption = Annotated[str, typer.Option(help="Reason to record.")]
ReplayOption = Annotated[bool, typer.Option("--replay", help="Answer from the response cache only.")]
BaseOption = Annotated[str, typer.Option(help="Branch, tag or commit that the change will merge into.")]
RemoteOption = Annotated[str, typer.Option(help="Remote in .dvc/config; default: the default remote.")]
PortOption = Annotated[int, typer.Option(help="Port to listen on.")]


def find_release(workspace: Workspace, release: str, env: str = "") -> tuple[Any, Path]:
    """Return the manifest and the folder of a release, by default of the live one."""
    from sluice.release import catalogue
    from sluice.release.champion import champion_id

    record = record_of(workspace, env)
    chosen = release or champion_id(record)
    if not chosen:
        where = f" of {env}" if env else ""
        raise SluiceError(f"there is no champion{where} yet", remedy="run `make release` first")
    return catalogue.find_release(workspace, record, chosen)


def record_of(workspace: Workspace, env: str) -> EnvironmentRecord:
    from sluice.release.environment_record import open_record

    return open_record(workspace, env, os.environ)


def elsewhere(occasion: str, on: str) -> Callable[..., Any]:
    """Return what an extra does in place of this machine."""
    from sluice.core.settings import nearest

    there = hooks(occasion)
    if on not in there:
        remedy = f"there is {', '.join((HERE, *there))}"
        raise SluiceError(f"--on {on}: no such place{nearest(on, [HERE, *there])}", remedy=remedy)
    return there[on]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def tell(markdown: str) -> None:
    """Append to the job summary in GitHub Actions."""
    from sluice.github.workflow_run import write_job_summary

    print(write_job_summary(markdown, os.environ), file=sys.stderr)


def set_outputs(values: Mapping[str, str]) -> str:
    """Set step outputs in GitHub Actions and return a message about it."""
    from sluice.github.workflow_run import write_outputs

    return write_outputs(values, os.environ)
