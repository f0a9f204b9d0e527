"""The `sluice data diff` and `sluice data card` commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace


def data_diff(
    base: Annotated[str, typer.Argument(help="Branch, tag or commit, or another data folder.")] = "origin/main",
) -> None:
    """Compare data/ with another version: rows and documents that were added, removed or changed."""
    from sluice.extras.curation.checked_out import checked_out
    from sluice.extras.curation.data_diff import compare, read_version

    workspace = Workspace.find()
    with checked_out(workspace, base) as folder:
        print_json(compare(read_version(folder), read_version(workspace.data)).as_dict())


def data_card(
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """Print the datasheet of data/ as Markdown, computed from the data."""
    from sluice.core.atomic_files import write_atomic
    from sluice.data.data_policy import load_policy
    from sluice.extras.curation.datasheet import card

    workspace = Workspace.find()
    page = card(workspace.data, load_policy(workspace.config))
    if out:
        write_atomic(out, page)
    else:
        print(page, end="")


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["data"].command("diff")(data_diff)
    groups["data"].command("card")(data_card)
