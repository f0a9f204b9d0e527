"""The `sluice code` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Track the code of stages and of the service.", callback=lambda: None)


@group.command("digest")
def code_digest(
    out: Annotated[Path | None, typer.Option(help="Folder for the digest lists; default: build/code.")] = None,
) -> None:
    """Write the code digests of each stage and the service, and print what changed (pipeline stage)."""
    from sluice.core.atomic_files import write_atomic
    from sluice.core.closures import CodeGraph, changed
    from sluice.core.stages import PROGRAMS

    workspace = Workspace.find()
    folder = out or workspace.build / "code"
    graph = CodeGraph(workspace.root)
    for name, program in PROGRAMS.items():
        path = folder / f"{name}.txt"
        before, now = path.read_text() if path.is_file() else "", graph.code_of(program).listing()
        if before != now:
            write_atomic(path, now)
            print(f"{name}: {changed(before, now)}")
