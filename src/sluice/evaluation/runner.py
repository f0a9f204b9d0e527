"""Asks every case of the evaluation set and scores the answers. It drives the application's own chain, not a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.scoring import run_metrics


class Application(Protocol):
    """What is evaluated: asked one question, it gives an Output or raises."""

    async def ask(self, question: str) -> Output: ...


async def run_cases(
    rows: Sequence[Row],
    application: Application,
    metrics: Sequence[Metric],
    *,
    concurrency: int,
    on_progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """One record a row, in the order of `rows` (docs/architecture.md has its keys). `on_progress(done, total)`.

    Answers are scored when all of them are there: what a metric computes must not slow an answer that is being timed,
    and metrics that embed or ask a judge then see all cases at once.
    """
    turns = asyncio.Semaphore(concurrency)
    done = 0

    async def ask(row: Row) -> Output | str:
        nonlocal done
        async with turns:
            try:
                outcome: Output | str = await application.ask(row.question)
            except Exception as error:  # any failure of the application is this case's result, not the end of the run
                outcome = f"{type(error).__name__}: {error}"
        done += 1
        on_progress(done, len(rows))
        return outcome

    outcomes = await asyncio.gather(*(ask(row) for row in rows))
    pairs = zip(rows, outcomes, strict=True)
    return list(await asyncio.gather(*(_record(row, outcome, metrics) for row, outcome in pairs)))


async def _record(row: Row, outcome: Output | str, metrics: Sequence[Metric]) -> dict[str, Any]:
    """`outcome`: what the application said, or why it did not."""
    record: dict[str, Any] = {
        "id": row.id,
        "question": row.question,
        "expected": list(row.answers),
        "tags": list(row.tags),
    }
    if isinstance(outcome, str):
        nothing: dict[str, Any] = {"answer": None, "scores": {}, "labels": {}, "assertions": {}}
        return record | nothing | {"errors": {metric.name: outcome for metric in metrics}}
    record |= {
        "answer": outcome.text,
        "declined": outcome.declined,
        "retrieved": list(outcome.retrieved),
        "passages": list(outcome.passages),
        "citations": list(outcome.citations),
        "latency_ms": round(outcome.latency_ms, 1),
        "ttft_ms": None if outcome.ttft_ms is None else round(outcome.ttft_ms, 1),
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "cost": outcome.cost,
    }
    return record | await run_metrics(row, outcome, metrics)
