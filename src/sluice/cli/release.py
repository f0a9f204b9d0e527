"""`sluice release ...`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import Fault, find_release
from sluice.core.errors import CanaryStopped, GateFailed
from sluice.core.workspace import Workspace

ARTEFACTS = "SLUICE_ARTEFACTS"  # so that a pod's manifest names the place once
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


@group.command("push")
def release_push(
    to: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix.", envvar=ARTEFACTS)],
    release: Annotated[str, typer.Argument(help="Release id; default: the champion.")] = "",
) -> None:
    """Put a release and its models where other machines fetch them, each file under its sha256."""
    from sluice.release.blobs import open_place
    from sluice.release.transfer import push

    workspace = Workspace.find()
    moved = push(find_release(workspace, release)[1], workspace, open_place(to))
    print(f"{moved.manifest.id}: {moved.files} files, {moved.moved} of them new\nsha256:{moved.digest}")


@group.command("fetch")
def release_fetch(
    manifest: Annotated[str, typer.Argument(help="A release.json, or `sha256:` and its digest.")],
    source: Annotated[
        str, typer.Option("--from", help="Folder, s3://bucket/prefix or https://host/path.", envvar=ARTEFACTS)
    ],
    into: Annotated[Path, typer.Option(help="Folder that becomes the release.")] = Path("/release"),
    only: Annotated[
        list[str] | None, typer.Option(help="A folder of the release, and no model; may be repeated.")
    ] = None,
) -> None:
    """Bring a release and its models to this machine and verify every digest. A pod's init container runs it.

    With --only no model and nothing else of it: who judges a canary needs `judging` (gates, cases) and `config`."""
    from sluice.release.blobs import open_place
    from sluice.release.transfer import fetch, fetch_folders

    place = open_place(source)
    moved = fetch_folders(manifest, place, into, only) if only else fetch(manifest, place, into, Workspace.find())
    print(f"{moved.manifest.id}: {moved.files} files verified, {moved.moved} of them fetched\nsha256:{moved.digest}")
