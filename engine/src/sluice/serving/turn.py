"""What one answer has come to so far: its passages, what the model said, what was sent and blocked, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sluice.guardrails.guards import Outcome
from sluice.llm.chat import Delta
from sluice.retrieval import Hit
from sluice.serving.answer import Answer, ModelTimeoutError, Usage
from sluice.serving.citations import cite, words
from sluice.serving.telemetry import traces


class Turn:
    """Made within the event loop; `deadline` is in its time, `seconds` from now. Not shared between questions."""

    def __init__(self, decline: str, seconds: float) -> None:
        self._decline = decline
        self._seconds = seconds
        self._started = time.perf_counter()
        self._ttft_ms: float | None = None
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.condensed: Delta | None = None
        self.said: Delta | None = None
        self.text = ""
        self.hits: list[Hit] = []
        self.asked = False
        self.blocked: str | None = None
        self.refused: tuple[str, ...] = ()
        self.trace = traces.current_trace()
        self._output: traces.Step | None = None

    def guard_output(self) -> traces.Step:
        """One step for the checks of all sentences, from the first to the last."""
        if self._output is None:
            self._output = self.trace.step(traces.GUARD_OUTPUT)
        return self._output

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(self.deadline):
                yield
        except TimeoutError:
            raise self.late() from None

    def late(self) -> ModelTimeoutError:
        return ModelTimeoutError(f"no whole answer within {self._seconds:g} s")

    def block(self, verdict: Outcome) -> None:
        self.blocked = ", ".join(verdict.reasons)

    def sent(self, piece: str) -> str:
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed()
            self.trace.set("sluice.time_to_first_token", round(self._ttft_ms / 1000, 6))
        self.text += piece
        return piece

    def count(self, delta: Delta) -> None:
        """Keeps the last piece: it says how the answer ended, what it used and who gave it."""
        if delta.finish_reason is not None:
            self.said = delta

    def finish(self) -> Answer:
        declined = words(self.text) == words(self._decline)
        last = self.said or Delta(finish_reason="stop")
        calls = [said for said in (self.condensed, self.said) if said is not None]
        usages = [said.usage for said in calls if said.usage is not None]
        costs = [said.cost for said in calls if said.cost is not None]
        return Answer(
            text=self.text,
            declined=declined,
            blocked=self.blocked,
            citations=() if declined or self.blocked else cite(self.text, self.hits),
            hits=tuple(self.hits),
            usage=Usage(sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages)),
            finish_reason="content_filter" if self.blocked else last.finish_reason or "stop",
            ttft_ms=self._ttft_ms,
            latency_ms=self._elapsed(),
            provider=last.provider,
            cost=sum(costs) if calls and len(costs) == len(calls) else None,
            model=last.model,
        )

    def _elapsed(self) -> float:
        return (time.perf_counter() - self._started) * 1000
