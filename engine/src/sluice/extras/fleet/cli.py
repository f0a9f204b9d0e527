"""The `sluice fleet` commands, for a platform team with many projects from one template."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.errors import SluiceError

group = typer.Typer(no_args_is_help=True, help="Track and upgrade many projects from one template.")
File = Annotated[Path, typer.Option("--file", help="File that lists the projects.")]


def folder_of(file: Path) -> Path:
    return file.resolve().parent / ".sluice" / "fleet"


@group.command()
def status(
    file: File = Path("fleet.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    page: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Fail if a project breaks a rule or can't be read.")] = False,
) -> None:
    """Show each project's engine, releases and verdicts.

    Columns: engine, edits, live releases, last verdict, loosened gates, missing extras. A project that can't be read
    is one line; the rest continues. GITHUB_TOKEN must be able to read them all."""
    from sluice.cli.common import print_json
    from sluice.core.atomic_files import write_atomic
    from sluice.extras.fleet import fleet_status
    from sluice.extras.fleet.fleet_file import load_fleet

    found = fleet_status.read_status(load_fleet(file), os.environ, folder_of(file))
    if as_json:
        print_json(found.as_dict())
    else:
        print(fleet_status.table(found), end="")
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(page, fleet_status.page(found))
    if check and found.unhealthy:
        names = ", ".join(one.repository for one in found.unhealthy)
        said = f"{len(found.unhealthy)} projects to look at: {names}"
        raise SluiceError(said, remedy="the status says what is wrong")


@group.command()
def upgrade(
    file: File = Path("fleet.yaml"),
    to: Annotated[str, typer.Option(help="Template version; default: the newest.")] = "",
    skip_rings: Annotated[
        str, typer.Option(help="Upgrade all rings at once and record this reason, such as CVE-2026-1.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Prepare every upgrade on this machine; push and open nothing.")
    ] = False,
) -> None:
    """Open the upgrade's pull requests ring by ring, each once the previous ring's verdicts aren't worse.

    Run it again, such as hourly, until all rings have passed: GitHub holds the state. If a project gets worse, it stops
    and opens one issue in the repository that GITHUB_REPOSITORY names."""
    from sluice.extras.fleet.fleet_file import load_fleet
    from sluice.extras.fleet.fleet_upgrade import advance
    from sluice.github.workflow_run import write_job_summary

    fleet, folder = load_fleet(file), folder_of(file)
    found = advance(fleet, os.environ, folder, version=to, skip=skip_rings, dry_run=dry_run)
    print(found.text(), end="")
    write_job_summary(found.text(), os.environ)
    if found.stopped:
        remedy = found.issue or "the pull requests say why"
        raise SluiceError(f"template {found.version}: {found.summary}", remedy=remedy)


def register(app: typer.Typer, groups: dict[str, typer.Typer]) -> None:
    app.add_typer(group, name="fleet")
    groups["fleet"] = group
