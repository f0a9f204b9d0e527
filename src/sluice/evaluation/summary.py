"""Scores of all cases into one figure for each metric, and the files that the gates and the report read.

A metric that crashed on a case has an error, not a score: errors are counted apart and never averaged away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of
from sluice.core.files import write_json, write_jsonl
from sluice.data.rows import Row
from sluice.evaluation.output import Metric


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile, `share` in (0, 1]; `values` must not be empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def aggregate(metric: Metric, scores: Sequence[float]) -> float | None:
    """One figure from the scores of all cases; None when there is none."""
    if not scores:
        return None
    if metric.aggregate == "mean":
        return sum(scores) / len(scores)
    return percentile(scores, 0.5 if metric.aggregate == "p50" else 0.95)


def summarise(rows: Sequence[Row], cases: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> dict[str, Any]:
    """summary.json: {cases_digest, cases, metrics: {name: {value, samples, errors, unit, direction}}}."""
    figures: dict[str, Any] = {}
    for metric in metrics:
        scores = [case["scores"][metric.name] for case in cases if case["scores"].get(metric.name) is not None]
        figures[metric.name] = {
            "value": aggregate(metric, scores),
            "samples": len(scores),
            "errors": sum(metric.name in case["errors"] for case in cases),
            "unit": metric.unit,
            "direction": metric.direction,
        }
    return {"cases_digest": cases_digest(rows), "cases": len(cases), "metrics": figures}


def cases_digest(rows: Sequence[Row]) -> str:
    """Digest over what is asked and expected: two results are comparable when theirs are equal."""
    return digest_of([row.model_dump(mode="json") for row in rows])


def write_results(out: Path, summary: dict[str, Any], cases: Sequence[dict[str, Any]]) -> None:
    """metrics.json (flat, for DVC), summary.json and cases.jsonl in the folder `out`."""
    write_jsonl(out / "cases.jsonl", cases)
    write_json(out / "metrics.json", {name: figure["value"] for name, figure in summary["metrics"].items()})
    write_json(out / "summary.json", summary)
