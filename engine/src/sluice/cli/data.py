"""The `sluice data` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.cli.common import RemoteOption, print_json
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Check and publish data.")


def _policy(workspace: Workspace) -> Any:
    from sluice.data.privacy import load_policy

    return load_policy(workspace.config)


@group.command("check")
def data_check(out: Annotated[Path | None, typer.Option(help="File for the report.")] = None) -> None:
    """Check data/ for contract faults and for the rows that gates need; report all at once (pipeline stage)."""
    from sluice.core.atomic_files import write_json
    from sluice.data.contract import check_or_raise
    from sluice.evaluation.asked_rows import rows_of
    from sluice.release.coverage import require_rows

    workspace = Workspace.find()
    report = check_or_raise(workspace.data, policy=_policy(workspace))
    require_rows(rows_of(workspace), workspace.config / "gates.yaml")
    summary = report.as_dict()
    if out:
        write_json(out, summary)
    print_json(summary)


@group.command("push")
def data_push(remote: RemoteOption = "") -> None:
    """Check data/, publish it and read it back, so that a fresh clone can pull all that data.dvc names."""
    from dataclasses import asdict

    from sluice.data.publish import push

    workspace = Workspace.find()
    print_json(asdict(push(workspace, _policy(workspace), remote)))


@group.command("verify")
def data_verify(remote: RemoteOption = "") -> None:
    """Read every object of data.dvc from the remote, as a fresh clone would; report all faults at once."""
    from dataclasses import asdict

    from sluice.data.publish import verify

    print_json(asdict(verify(Workspace.find(), remote)))
