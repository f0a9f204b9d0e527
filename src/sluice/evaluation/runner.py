"""Asks every case of the evaluation set and scores the answers. It drives the application's own chain, not a copy."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output


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
    """One record a row, in the order of `rows` (docs/architecture.md has its keys). `on_progress(done, total)`."""
    turns = asyncio.Semaphore(concurrency)
    done = 0

    async def one(row: Row) -> dict[str, Any]:
        nonlocal done
        async with turns:
            record = await _ask(row, application, metrics)
        done += 1
        on_progress(done, len(rows))
        return record

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _ask(row: Row, application: Application, metrics: Sequence[Metric]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": row.id,
        "question": row.question,
        "expected": list(row.answers),
        "tags": list(row.tags),
    }
    try:
        output = await application.ask(row.question)
    except Exception as error:  # any failure of the application is this case's result, not the end of the run
        fault = f"{type(error).__name__}: {error}"
        return record | {"answer": None, "scores": {}, "errors": {metric.name: fault for metric in metrics}}
    record |= {
        "answer": output.text,
        "declined": output.declined,
        "retrieved": list(output.retrieved),
        "citations": list(output.citations),
        "latency_ms": round(output.latency_ms, 1),
        "ttft_ms": None if output.ttft_ms is None else round(output.ttft_ms, 1),
        "prompt_tokens": output.prompt_tokens,
        "completion_tokens": output.completion_tokens,
        "scores": {},
        "errors": {},
    }
    for metric in metrics:
        try:
            score = metric.score(row, output)
            if score is not None and not math.isfinite(score):
                raise ValueError(f"the score is {score}")
            record["scores"][metric.name] = score
        except Exception as error:  # a metric that crashes is its own record, and fails its gate
            record["errors"][metric.name] = f"{type(error).__name__}: {error}"
    return record
