"""`sluice code ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="What code each stage runs, and what serves.", callback=lambda: None)


@group.command("digest")
def code_digest(
    out: Annotated[Path | None, typer.Option(help="Folder for the lists; default: build/code.")] = None,
) -> None:
    """Write the digest of the code of each stage and of what serves (pipeline stage); prints what has changed."""
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
