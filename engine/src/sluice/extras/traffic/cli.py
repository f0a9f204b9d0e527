"""The `sluice data drift` and `sluice data harvest` commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import print_json
from sluice.core.workspace import Workspace

PlaceOption = Annotated[
    str,
    typer.Option(
        "--from",
        envvar="SLUICE_TRAFFIC",
        help="Recorded traffic: a folder or file of OTLP lines, s3://…, or an MLflow store; default: this machine's.",
    ),
]


def data_drift(
    place: PlaceOption = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default: build/drift.")] = None,
) -> None:
    """Compare recorded questions and answers with the evaluation set; exit code 3 if they have shifted."""
    from sluice.extras.traffic import traffic_jobs
    from sluice.extras.traffic.drift import load_drift_policy
    from sluice.extras.traffic.drift_page import write_page
    from sluice.extras.traffic.notices import notice
    from sluice.jobs import dvc_pipeline as pipeline

    workspace = Workspace.find()
    traffic = traffic_jobs.recorded(workspace, place)
    if not traffic.exchanges:
        notice("no traffic is recorded, so there is nothing to compare: engine/docs/reference/data.md", os.environ)
        return
    pipeline.pull(workspace)
    policy = load_drift_policy(workspace.config / "gates.yaml")
    found = traffic_jobs.drift(workspace, traffic)
    print_json({"broken_lines": traffic.broken, **found.as_dict(policy)})
    print(write_page(found, policy, out or workspace.build / "drift"))
    found.require(policy)


def data_harvest(
    place: PlaceOption = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default: build/harvest.")] = None,
    at_least: Annotated[int, typer.Option(min=1, help="Minimum number of questions per proposed row.")] = 2,
    most: Annotated[int, typer.Option(min=1, help="Maximum number of proposed rows, most asked first.")] = 50,
    publish: Annotated[bool, typer.Option("--publish", help="Push a branch and open or update its PR.")] = False,
) -> None:
    """Propose rows for declined and low-scored questions; none counts until a person has read it."""
    from sluice.data.data_policy import load_policy
    from sluice.extras.curation.proposed_rows import write
    from sluice.extras.curation.publish_proposals import publish_proposals
    from sluice.extras.traffic import harvest_files, traffic_jobs
    from sluice.extras.traffic.harvest import HarvestSettings

    workspace = Workspace.find()
    traffic = traffic_jobs.recorded(workspace, place)
    found = traffic_jobs.harvest(
        workspace, traffic, load_policy(workspace.config).privacy, HarvestSettings(at_least=at_least, most=most)
    )
    files = harvest_files.files(found)
    write(files, out or workspace.build / "harvest")
    print_json({"proposed": len(found.proposals), "left_out": found.left_out, "broken_lines": traffic.broken})
    if publish and found.proposals:
        publish_proposals(workspace, files, harvest_files.PLACE)


def register(_: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    groups["data"].command("drift")(data_drift)
    groups["data"].command("harvest")(data_harvest)
