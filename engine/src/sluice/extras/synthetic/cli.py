"""The `sluice data generate` command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace


def data_generate(
    rows: Annotated[int, typer.Option(min=1, help="Number of rows to propose.")] = 50,
    each: Annotated[int, typer.Option(min=1, help="Questions to request per passage.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed for drawing passages; the teacher gets it too.")] = 1,
    agreement: Annotated[float, typer.Option(min=0, max=1, help="Minimum token F1 of the second answer.")] = 0.6,
    checked_by: Annotated[
        str, typer.Option(help="Role in config/providers.yaml that gives the second answer: teacher, judge or chat.")
    ] = "teacher",
    minutes: Annotated[float, typer.Option(min=0.1, help="Time limit; the rows so far count.")] = 30,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default: build/generated.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Push a branch and open or update its PR.")] = False,
) -> None:
    """Propose rows about the corpus, written by the role `teacher`; none counts until a person has read it."""
    from sluice.data.data_policy import load_policy
    from sluice.extras.curation.proposed_rows import write
    from sluice.extras.curation.publish_proposals import publish_proposals
    from sluice.extras.synthetic import generation_files, generation_job
    from sluice.extras.synthetic.generate_rows import GenerationSettings

    workspace = Workspace.find()
    settings = GenerationSettings(rows=rows, each=each, seed=seed, agreement=agreement, minutes=minutes)
    made = generation_job.run(workspace, settings, load_policy(workspace.config).privacy, checked_by=checked_by)
    write(made.files, out or workspace.build / "generated")
    print_json(
        {"proposed": len(made.found.proposals), "passages": made.found.passages, "left_out": made.found.left_out}
    )
    if publish:
        publish_proposals(workspace, made.files, generation_files.PLACE)


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["data"].command("generate")(data_generate)
