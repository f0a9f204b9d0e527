"""Runs every case of the evaluation set through the application's own chain, and scores the answers."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from sluice.data.rows import Row
from sluice.evaluation.asked_rows import require_rows
from sluice.evaluation.registry import Aggregate, Assertion, Label, Metric, Output, Result
from sluice.evaluation.response_cache import NotRecordedError, NotStartedError

Score: TypeAlias = Callable[[Row, Output], Awaitable[dict[str, Any]]]
_GIVES: dict[Aggregate, type] = {"mean": float, "p50": float, "p95": float, "share": Assertion, "counts": Label}


class EvaluationTarget(Protocol):
    """The application under evaluation. NotStartedError ends the run; any other exception is a result of the case."""

    async def ask(self, row: Row, *, trial: int) -> Output: ...


async def run_cases(
    rows: Sequence[Row],
    application: EvaluationTarget,
    metrics: Sequence[Metric],
    *,
    concurrency: int,
    trials: int = 1,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    score: Score | None = None,
) -> list[dict[str, Any]]:
    """Ask every row, then score all answers: metrics must not slow an answer that is timed, and can batch all cases."""
    require_rows(rows)
    asked = [(row, trial) for row in rows for trial in range(trials)]
    turns = asyncio.Semaphore(concurrency)
    done = 0

    async def ask(row: Row, trial: int) -> Output | Exception:
        nonlocal done
        async with turns:
            try:
                outcome: Output | Exception = await application.ask(row, trial=trial)
            except NotStartedError:
                raise
            except Exception as error:  # any failure of the application is this case's result, not the end of the run
                outcome = error
        done += 1
        on_progress(done, len(asked))
        return outcome

    outcomes = await asyncio.gather(*(ask(row, trial) for row, trial in asked))
    pairs = zip(asked, outcomes, strict=True)
    judge = score or partial(run_metrics, metrics=metrics)
    names = [metric.name for metric in metrics]
    return list(await asyncio.gather(*(_record(row, trial, outcome, judge, names) for (row, trial), outcome in pairs)))


async def _record(
    row: Row, trial: int, outcome: Output | Exception, score: Score, names: Sequence[str]
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": row.id,
        "trial": trial,
        "question": row.question,
        "expected": list(row.answers),
        "tags": list(row.tags),
    }
    if isinstance(outcome, NotRecordedError):
        return record | _unanswered("not_evaluated", {"replay": outcome.message})
    if isinstance(outcome, Exception):
        return record | _unanswered("failed", dict.fromkeys(names, f"{type(outcome).__name__}: {outcome}"))
    return record | {"status": "answered"} | outcome.as_record() | await score(row, outcome)


def _unanswered(status: str, errors: dict[str, str]) -> dict[str, Any]:
    unknown = ("answer", "declined", "latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "cost")
    empty: dict[str, Any] = {name: [] for name in ("retrieved", "passages", "citations")}
    empty |= {name: {} for name in ("scores", "labels", "assertions")}
    return dict.fromkeys(unknown) | empty | {"status": status, "recorded": False, "errors": errors}


async def run_metrics(row: Row, output: Output, metrics: Sequence[Metric]) -> dict[str, Any]:
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
    """Score the answers of records anew, so that results of another version stay comparable."""
    known = {row.id: row for row in rows}

    async def again(record: Mapping[str, Any]) -> dict[str, Any]:
        if record.get("status", "answered") != "answered" or record["answer"] is None:
            return dict(record)
        return {**record, **await score(known[record["id"]], Output.from_record(record))}

    async def all_again() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*map(again, records)))

    return asyncio.run(all_again())


async def _results(row: Row, output: Output, metrics: Sequence[Metric]) -> list[Result | BaseException]:
    """Return the results in the order of `metrics`; coroutines wait together."""
    given: list[Any] = []
    for metric in metrics:
        try:
            given.append(metric.score(row, output))
        except Exception as error:
            given.append(error)
    waiting = [place for place, result in enumerate(given) if inspect.isawaitable(result)]
    if waiting:
        answers = await asyncio.gather(*(given[place] for place in waiting), return_exceptions=True)
        for place, answer in zip(waiting, answers, strict=True):
            given[place] = answer
    return [_checked(metric, result) for metric, result in zip(metrics, given, strict=True)]


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
