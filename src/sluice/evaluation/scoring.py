"""Applies metrics to one case. This is the only place that calls `Metric.score`."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Sequence
from typing import Any

from sluice.data.rows import Row
from sluice.evaluation.output import Aggregate, Assertion, Label, Metric, Output, Result

_GIVES: dict[Aggregate, type] = {"mean": float, "p50": float, "p95": float, "share": Assertion, "counts": Label}


async def run_metrics(row: Row, output: Output, metrics: Sequence[Metric]) -> dict[str, Any]:
    """{scores: {name: number or None}, labels: {name: word}, assertions: {name: {passed, reason}}, errors: {name: why}}

    A score that does not apply is None; labels and assertions that do not apply are left out. A metric that crashes, a
    score that is not finite and a result of another kind than `aggregate` says are entries of `errors`, and fail the
    metric's gate.
    """
    found: dict[str, Any] = {"scores": {}, "labels": {}, "assertions": {}, "errors": {}}
    results = await asyncio.gather(*(_score(metric, row, output) for metric in metrics), return_exceptions=True)
    for metric, result in zip(metrics, results, strict=True):
        if isinstance(result, Exception):
            found["errors"][metric.name] = f"{type(result).__name__}: {result}"
        elif isinstance(result, BaseException):
            raise result
        elif isinstance(result, Label):
            found["labels"][metric.name] = result.word
        elif isinstance(result, Assertion):
            found["assertions"][metric.name] = {"passed": result.passed, "reason": result.reason}
        elif result is not None or _GIVES[metric.aggregate] is float:
            found["scores"][metric.name] = result
    return found


async def _score(metric: Metric, row: Row, output: Output) -> Result:
    result = metric.score(row, output)
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, int) and not isinstance(result, bool):
        result = float(result)
    if result is not None and not isinstance(result, wanted := _GIVES[metric.aggregate]):
        raise TypeError(f"gave {type(result).__name__}, but its aggregate {metric.aggregate!r} is of {wanted.__name__}")
    if isinstance(result, float) and not math.isfinite(result):
        raise ValueError(f"the score is {result}")
    return result
