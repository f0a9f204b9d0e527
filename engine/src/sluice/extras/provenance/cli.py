"""The `sluice release recompute` command."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from sluice.cli.common import ChampionArgument, EnvOption, find_release
from sluice.core.errors import ValidationErrors
from sluice.core.workspace import Workspace


def recompute_release(release: ChampionArgument = "", env: EnvOption = "") -> None:
    """Recompute a release's scores, figures and verdicts offline, from its recorded answers.

    `sluice release verify` compares files with their digests; this reports the row, metric or gate that disagrees, even
    if someone rewrote the digests. Anything that can't be recomputed here is reported as not verified."""
    from sluice.extras.provenance.recompute import recompute

    workspace = Workspace.find()
    _, folder = find_release(workspace, release, env)
    results = recompute(workspace, folder)
    for result in results:
        print(result)
    if wrong := [str(result) for result in results if result.result == "failed"]:
        raise ValidationErrors(f"release {folder.name}", wrong, remedy="do not deploy it; make the release again")


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["release"].command("recompute")(recompute_release)
