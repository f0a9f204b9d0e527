"""What a load stage measured, judged by config/gates.yaml and written as JSON."""

from __future__ import annotations

from typing import Any

from sluice.core.atomic_files import write_json
from sluice.release.gates import decide, load_gates
from sluice.rollout.load_measurements import figures_of, times_of_pairs
from sluice.rollout.load_test.stage import LoadStage


def conclude(stage: LoadStage) -> bool:
    """Writes SLUICE_LOAD_OUT; whether every load gate passed."""
    figures = figures_of(stage.samples)
    verdicts = decide(load_gates(stage.gates), "load", figures["canary"], figures["stable"])
    visits = [sample for sample in stage.samples if sample.pair is None]
    document: dict[str, Any] = {
        "targets": {target: {name: figure.value for name, figure in row.items()} for target, row in figures.items()},
        "samples": {target: {name: figure.samples for name, figure in row.items()} for target, row in figures.items()},
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
        "visits": [
            {"request_id": visit.request_id, "release": visit.release, "error": visit.error} for visit in visits
        ],
        "pairs": times_of_pairs(stage.samples),
    }
    write_json(stage.out, document)
    return bool(verdicts) and all(verdict.passed for verdict in verdicts)
