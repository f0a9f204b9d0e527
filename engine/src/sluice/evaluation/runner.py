"""Runs every case of the evaluation set through the application's own chain, and scores the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.recorded_chat import NotRecordedError, NotStartedError
from sluice.evaluation.scoring import Score, run_metrics


class EvaluationTarget(Protocol):
    """What is evaluated: asked the question of a row, it gives an Output or raises.

    `trial`: which of several answers to the same question this is, from 0. NotRecordedError means that this case was
    not evaluated, NotStartedError that none can be, any other exception that the application failed.
    """

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
    """Asks every row and scores the answers when all of them are there: what a metric computes must not slow an answer
    that is being timed, and metrics that embed or ask a judge then see all cases at once."""
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


def require_rows(rows: Sequence[Row]) -> None:
    """Raises ValidationErrors that name every row that cannot be evaluated (an id that is used twice, a row that
    contradicts itself), and SluiceError when there is no row."""
    if not rows:
        raise SluiceError("the evaluation set is empty", remedy="a verdict needs cases: add rows to data/eval.jsonl")
    faults = [f"{name!r}: {uses} rows have this id" for name, uses in Counter(r.id for r in rows).items() if uses > 1]
    contradicting = [row.id for row in rows if row.doc_ids and not row.answerable]
    faults += [f"{name!r}: it has no answers (decline) but names documents" for name in contradicting]
    if faults:
        raise ValidationErrors(
            "the evaluation set", faults, remedy="fix the rows; `sluice data check` says where they stand"
        )


async def _record(
    row: Row, trial: int, outcome: Output | Exception, score: Score, names: Sequence[str]
) -> dict[str, Any]:
    """`outcome`: what the application said, or why it did not. `names`: of the metrics."""
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
    """The keys of an output and of its scores, where there is none."""
    unknown = ("answer", "declined", "latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "cost")
    empty: dict[str, Any] = {name: [] for name in ("retrieved", "passages", "citations")}
    empty |= {name: {} for name in ("scores", "labels", "assertions")}
    return dict.fromkeys(unknown) | empty | {"status": status, "recorded": False, "errors": errors}
