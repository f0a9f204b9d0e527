"""Aggregates metric results over all cases, and writes the files for gates and report.

A crash of a metric is an error, not a result: errors are counted separately and never averaged away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.evaluation.registry import Metric, NamedMeasure


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest rank: the smallest value that at least a share of all values do not exceed."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(rows: Sequence[Row], cases: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> dict[str, Any]:
    summary: dict[str, Any] = {"metrics": {}, "labels": {}, "assertions": {}}
    for metric in metrics:
        kind, figure = _figure(metric, cases)
        errors = sum(metric.name in case["errors"] for case in cases)
        summary[kind][metric.name] = figure | {"errors": errors}
    return {"cases_digest": cases_digest(rows), "cases": len(cases), **summary}


def _figure(metric: Metric, cases: Sequence[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    kind = {"counts": "labels", "share": "assertions"}.get(metric.aggregate, "scores")
    found = [one for case in cases if (one := case.get(kind, {}).get(metric.name)) is not None]
    if kind == "labels":
        return kind, {"counts": dict(Counter(found).most_common()), "samples": len(found)}
    judged = {"unit": metric.unit, "direction": metric.direction, "aggregate": metric.aggregate}
    if kind == "scores":
        value = None
        if found:
            share = {"p50": 0.5, "p95": 0.95}.get(metric.aggregate)
            value = percentile(found, share) if share else sum(found) / len(found)
        return "metrics", {"value": value, "samples": len(found)} | judged
    passed = sum(one["passed"] for one in found)
    share = passed / len(found) if found else None
    return kind, {"share": share, "passed": passed, "samples": len(found)} | judged


def measures_of(summary: Mapping[str, Any], place: Path) -> list[NamedMeasure]:
    try:
        # The summaries of earlier releases do not say how a figure was made.
        found = [
            NamedMeasure(name, one["unit"], one["direction"], one.get("aggregate", usual))
            for kind, usual in (("metrics", "mean"), ("assertions", "share"))
            for name, one in summary.get(kind, {}).items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise not_a_summary(place, error) from None
    return found + [NamedMeasure(name, "", None, "counts") for name in summary.get("labels", {})]


def not_a_summary(place: Path, error: Exception) -> SluiceError:
    return SluiceError(f"{place}: not an evaluation summary ({error!r})", remedy="run the evaluation again")


def cases_digest(rows: Sequence[Row]) -> str:
    """Return a digest over questions and expectations; results with equal ones are comparable."""
    return digest_of([row.as_dict() for row in rows])


def flat_figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    figures = {name: figure["value"] for name, figure in summary["metrics"].items()}
    return figures | {name: figure["share"] for name, figure in summary["assertions"].items()}


def write_results(out: Path, summary: dict[str, Any], cases: Sequence[dict[str, Any]]) -> None:
    """Write metrics.json (flat, for DVC), summary.json and cases.jsonl to the folder `out`."""
    write_jsonl(out / "cases.jsonl", cases)
    write_json(out / "metrics.json", flat_figures(summary))
    write_json(out / "summary.json", summary)
