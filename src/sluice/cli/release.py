"""`sluice release ...`"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sluice.cli.common import Fault, find_release
from sluice.core.errors import CanaryStopped, GateFailed
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Make, list, show and roll back releases.")


@group.command("make")
def release_make(fault: Fault = "") -> None:
    """Take the working tree down the whole road: check, index, train, evaluate, gates, rehearsal, champion."""
    from sluice.arrival import show_arrival
    from sluice.road import make_release

    arrival = make_release(Workspace.find(), fault=fault)
    show_arrival(arrival)
    if not arrival.passed:
        refusal = CanaryStopped if arrival.rehearsal else GateFailed
        remedy = "the champion stays live; the report shows the cases"
        raise refusal(f"release {arrival.manifest.id} was {arrival.verdict}: {arrival.reason}", remedy=remedy)


@group.command("list")
def release_list() -> None:
    """The journal: what was promoted and refused, and why."""
    from sluice.release import champion

    workspace = Workspace.find()
    live = champion.champion_id(workspace)
    for event in champion.history(workspace):
        mark = "*" if event.id == live else " "
        print(f"{mark} {event.time}  {event.event:<9}  {event.id}  {event.reason}")


@group.command("show")
def release_show(release: Annotated[str, typer.Argument(help="Release id; default: the champion.")] = "") -> None:
    """The manifest of a release."""
    print(json.dumps(find_release(Workspace.find(), release)[0].model_dump(mode="json"), indent=2, ensure_ascii=False))


@group.command("rollback")
def release_rollback(release: Annotated[str, typer.Argument(help="Id of the release to serve again.")]) -> None:
    """Make an earlier release the champion again. Its files are verified first."""
    from sluice.release import champion

    workspace = Workspace.find()
    with workspace.exclusive():
        champion.promote(workspace, release, reason="rolled back by hand")
    print(f"{release} is the champion")
