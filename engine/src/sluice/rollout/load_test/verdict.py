"""What a load stage measured, judged by config/gates.yaml and written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.core.atomic_files import write_json
from sluice.release.gates import Gate, decide, load_gates
from sluice.release.verdict import Verdict
from sluice.rollout.load_measurements import SLOWDOWNS, figures_of, pairs_of, surely_above
from sluice.rollout.load_test.stage import LoadStage

VERDICTS = "gates of the load stage:"


def settled(gates: Sequence[Gate], stage: LoadStage) -> bool:
    """Whether more pairs would hardly change the verdict: no gate fails only by a slowdown that may be chance."""
    figures = figures_of(stage.samples)
    failed = [one for one in decide(gates, "load", figures["canary"], figures["stable"]) if not one.passed]
    slow = [one for one in failed if one.metric in SLOWDOWNS]
    return not slow or len(slow) < len(failed) or any(surely_above(stage.samples, one) for one in slow)


def conclude(stage: LoadStage) -> list[Verdict]:
    """Writes SLUICE_LOAD_OUT; one verdict for each load gate."""
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
        "pairs": [(stable.total_ms, canary.total_ms) for stable, canary in pairs_of(stage.samples)],
    }
    write_json(stage.out, document)
    return verdicts


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """What the log of the stage ends with: a heading, and a line for each gate, those that failed last."""
    ordered = sorted(verdicts, key=lambda verdict: not verdict.passed)
    return [VERDICTS, *(f"{'passed' if one.passed else 'FAILED'}: {one.reason}" for one in ordered)]
