"""The `evaluate` stage: every row of data/eval.jsonl, asked of the application. Runs as `sluice evaluate`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from sluice.app.bundle import Bundle
from sluice.app.runtime import Runtime, open_runtime
from sluice.core.params import load_params
from sluice.core.progress import Reporter, seconds
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows
from sluice.evaluation.metrics import METRICS
from sluice.evaluation.metrics.recall_at_5 import K
from sluice.evaluation.output import Output
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import summarise, write_results


class EvaluateParameters(Settings):
    """`limit`: ask only N cases, spread evenly over the file; 0 asks all."""

    concurrency: int = Field(1, ge=1)
    limit: int = Field(0, ge=0)


class ChainApplication:
    """The answer chain as the runner asks it, with the five best chunks beside each answer."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def ask(self, question: str) -> Output:
        answer = await self._runtime.chain.answer([{"role": "user", "content": question}])
        hits = await asyncio.to_thread(self._runtime.retriever.search, question, k=K)
        return Output(
            text=answer.text,
            declined=answer.declined,
            retrieved=tuple(hit.doc_id for hit in hits),
            citations=tuple(citation.document for citation in answer.citations),
            latency_ms=answer.latency_ms,
            ttft_ms=answer.ttft_ms,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
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
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        progress.report(done, total, f"{done} of {total} cases, {seconds((time.monotonic() - began) / done)} each")

    with open_runtime(bundle, workspace) as runtime:
        asking = run_cases(
            rows, ChainApplication(runtime), METRICS, concurrency=parameters.concurrency, on_progress=show
        )
        cases = asyncio.run(asking)
    summary = summarise(rows, cases, METRICS)
    write_results(out, summary, cases)
    return summary
