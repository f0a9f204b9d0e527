"""`sluice index ...`"""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Build the search index.")


@group.command("build")
def index_build() -> None:
    """Build build/index from data/corpus and load its collection (pipeline stage)."""
    from sluice.retrieval.stage import run

    info = run(Workspace.find())
    print(f"{info.collection}: {info.documents} documents, {info.chunks} chunks")
