"""The `evaluate` stage: every row of data/eval.jsonl, asked of the application. Runs as `sluice evaluate`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import Field

from sluice.app.bundle import Bundle
from sluice.app.runtime import Runtime, open_runtime
from sluice.core.params import load_params
from sluice.core.progress import Reporter
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.instruments import open_metrics
from sluice.evaluation.metrics.recall_at_5 import K
from sluice.evaluation.output import Output
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import summarise, write_results
from sluice.retrieval.stores import Stores


class EvaluateParameters(Settings):
    """`workers`: models that answer side by side; `limit`: ask only N cases, evenly spread, 0 asks all."""

    workers: int = Field(2, ge=1)
    limit: int = Field(0, ge=0)


class ChainApplication:
    """The answer chain as the runner asks it, with the five best chunks beside each answer.

    Each question goes to a runtime that is free, so that every answer is timed without a neighbour on its threads.
    """

    def __init__(self, runtimes: Sequence[Runtime]) -> None:
        self._free: list[Runtime] = list(runtimes)

    async def ask(self, question: str) -> Output:
        runtime = self._free.pop()
        try:
            return await self._ask(runtime, question)
        finally:
            self._free.append(runtime)

    @staticmethod
    async def _ask(runtime: Runtime, question: str) -> Output:
        answer = await runtime.chain.answer([{"role": "user", "content": question}])
        hits = await asyncio.to_thread(runtime.retriever.search, question, k=K)
        return Output(
            text=answer.text,
            declined=answer.declined,
            retrieved=tuple(hit.doc_id for hit in hits),
            citations=tuple(citation.document for citation in answer.citations),
            latency_ms=answer.latency_ms,
            ttft_ms=answer.ttft_ms,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            passages=tuple(hit.text for hit in answer.hits),
            cost=answer.cost,
        )


def spread(rows: list[Row], limit: int) -> list[Row]:
    """`limit` rows at even distances, in order; all of them when `limit` is 0 or more than there are."""
    if not 0 < limit < len(rows):
        return rows
    return [rows[number * len(rows) // limit] for number in range(limit)]


def run(workspace: Workspace, bundle: Bundle, out: Path) -> dict[str, Any]:
    """Evaluates `bundle` on data/eval.jsonl and writes the result files to `out`; returns the summary."""
    parameters = load_params(workspace.params, "evaluate", EvaluateParameters)
    rows = spread(load_rows(workspace.data / "eval.jsonl"), parameters.limit)
    progress = Reporter("evaluate")

    def show(done: int, total: int) -> None:
        progress.report(done, total, "cases")

    stores = load_settings(workspace.config / "stores.yaml", Stores)
    with ExitStack() as opened:
        application = ChainApplication(
            [opened.enter_context(open_runtime(bundle, stores, workspace.state)) for _ in range(parameters.workers)]
        )
        metrics = opened.enter_context(open_metrics(bundle))
        asking = run_cases(rows, application, metrics, concurrency=parameters.workers, on_progress=show)
        cases = asyncio.run(asking)
    summary = summarise(rows, cases, metrics)
    write_results(out, summary, cases)
    return summary
