"""The recordings that the stub API server plays hold to the closed schemas of Argo Rollouts' status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.kubernetes.api_server import compose

from .cluster import RECORDINGS, recording

SCHEMAS = json.loads((RECORDINGS / "status-schemas.json").read_text())
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.yaml"))
TEMPLATES = Path(__file__).parents[4] / "engine" / "schemas" / "cluster" / "argoproj.io_analysistemplate.json"


def faults(event: Any) -> list[str]:
    """What is wrong with an event, by the schema of its status and, for a run, of its spec."""
    if not isinstance(event, dict) or not set(event) & {"rollout", "run"}:
        return []
    kind = next(iter(event))
    rollout = {"metadata": {"name": "sluice", "generation": 2}} if kind == "rollout" else None
    document = compose(event, rollout)
    found = [error.message for error in jsonschema.Draft7Validator(SCHEMAS[kind]).iter_errors(document["status"])]
    if kind == "run":
        spec = json.loads(TEMPLATES.read_text())["properties"]["spec"]
        found += [error.message for error in jsonschema.Draft7Validator(spec).iter_errors(document["spec"])]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_holds_to_the_schemas(name: str) -> None:
    played = [event for events in recording(name).values() for event in events]
    assert played
    assert [fault for event in played for fault in faults(event)] == []


def test_a_misspelt_field_is_found() -> None:
    assert faults({"rollout": {"phase": "Healthy", "stableRs": "new"}})
    assert faults({"run": {"name": "x", "spec": {"metrics": []}, "status": {"phase": "Failed", "metricResult": []}}})
