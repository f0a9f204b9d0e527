"""`sluice release recompute`"""

from __future__ import annotations

from collections.abc import Mapping

import typer

from sluice.cli.common import ChampionArgument, EnvOption, find_release
from sluice.core.errors import ValidationErrors
from sluice.core.workspace import Workspace


def recompute_release(release: ChampionArgument = "", env: EnvOption = "") -> None:
    """Compute a release's scores, figures and verdicts again from its recorded answers, and compare. Offline.

    `sluice release verify` compares files with their digests; this says which row, metric or gate disagrees, also
    where the digests were written anew. What cannot be recomputed here is said to be not verified."""
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
