"""Applies metrics to a case, and to recorded answers anew. Nothing else calls `Metric.score`."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from sluice.data.rows import Row
from sluice.evaluation.output import Aggregate, Assertion, Label, Metric, Output, Result

Score: TypeAlias = Callable[[Row, Output], Awaitable[dict[str, Any]]]
_GIVES: dict[Aggregate, type] = {"mean": float, "p50": float, "p95": float, "share": Assertion, "counts": Label}


async def run_metrics(row: Row, output: Output, metrics: Sequence[Metric]) -> dict[str, Any]:
    """Scores one answer by every metric."""
    found: dict[str, Any] = {"scores": {}, "labels": {}, "assertions": {}, "errors": {}}
    for metric, result in zip(metrics, await _results(row, output, metrics), strict=True):
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


def rescore(records: Sequence[Mapping[str, Any]], rows: Sequence[Row], score: Score) -> list[dict[str, Any]]:
    """Scores the answers of records anew, so that results of another version stay comparable."""
    known = {row.id: row for row in rows}

    async def one(record: Mapping[str, Any]) -> dict[str, Any]:
        if record.get("status", "answered") != "answered" or record["answer"] is None:
            return dict(record)
        return {**record, **await score(known[record["id"]], Output.from_record(record))}

    async def all_of_them() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(one(record) for record in records)))

    return asyncio.run(all_of_them())


async def _results(row: Row, output: Output, metrics: Sequence[Metric]) -> list[Result | BaseException]:
    """In the order of `metrics`. Those that ask somebody wait together; most do not, and need no task of their own."""
    given = [_begun(metric, row, output) for metric in metrics]
    waiting = [place for place, result in enumerate(given) if inspect.isawaitable(result)]
    if waiting:
        answers = await asyncio.gather(*(given[place] for place in waiting), return_exceptions=True)
        for place, answer in zip(waiting, answers, strict=True):
            given[place] = answer
    return [_checked(metric, result) for metric, result in zip(metrics, given, strict=True)]


def _begun(metric: Metric, row: Row, output: Output) -> Any:
    """A result, something to wait for, or what it crashed with."""
    try:
        return metric.score(row, output)
    except Exception as error:
        return error


def _checked(metric: Metric, result: Any) -> Result | BaseException:
    if result is None or isinstance(result, BaseException):
        return result
    if isinstance(result, int) and not isinstance(result, bool):
        result = float(result)
    if not isinstance(result, wanted := _GIVES[metric.aggregate]):
        return TypeError(
            f"gave {type(result).__name__}, but its aggregate {metric.aggregate!r} is of {wanted.__name__}"
        )
    if isinstance(result, float) and not math.isfinite(result):
        return ValueError(f"the score is {result}")
    return cast(Result, result)
