"""The `sluice engine publish` command, which publishes a version of the template."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace


def engine_publish(
    tag: Annotated[str, typer.Argument(help="Tag of the version, such as v0.2.0.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the wheel; an existing wheel must equal the packed one.")
    ] = Path("dist"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Pack and compare; publish nothing.")] = False,
) -> None:
    """Pack a template version's engine twice and attach the wheel to its tag's GitHub Release.

    A published wheel is never replaced. template-release.yml runs this."""
    from sluice.core.digests import digest_of_file
    from sluice.extras.engine_tests.publish_engine import pack_twice, publish
    from sluice.github.workflow_run import write_job_summary

    root = Workspace.find().root
    wheel = pack_twice(root, tag, out)
    said = f"{wheel}\nsha256:{digest_of_file(wheel)}\npacked twice, the same bytes"
    if not dry_run:
        posted = publish(root, tag, wheel, os.environ)
        said += f"\n{posted.message}: {posted.url}"
    write_job_summary(said, os.environ)
    print(said)


def register(app: typer.Typer, groups: dict[str, typer.Typer]) -> None:  # noqa: ARG001 - the form of every extra
    groups["engine"].command("publish")(engine_publish)
