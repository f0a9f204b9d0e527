"""One question on its way through the application: what was asked, and what its answer has come to so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sluice.guardrails.guards import GuardOutcome
from sluice.llm.chat import Delta, Messages
from sluice.retrieval import Hit
from sluice.serving.answer import Answer, ModelTimeoutError, Usage
from sluice.serving.citations import cite, words
from sluice.serving.telemetry import traces

T = TypeVar("T")


class RequestState:
    """Made within the event loop, for one question.

    Attributes:
        messages: the conversation as it was sent.
        question: the last user message, as the input guard lets it pass.
        tenant: whose documents may be used beside those for everybody.
        deadline: until when there must be a whole answer; a time of the event loop's clock.
        refused: why a guard refused the answer before this one; empty at the first attempt.
        hits: the passages that were found and may be quoted, best first; the answer cites from them.
        trace: of the request; an application may add steps of its own.
    """

    def __init__(
        self, messages: Messages, tenant: str | None, *, decline: str, seconds: float, warming: bool = False
    ) -> None:
        self.messages = messages
        self.question = ""
        self.tenant = tenant
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.refused: tuple[str, ...] = ()
        self.hits: list[Hit] = []
        self.trace = traces.current_trace()
        # The engine's own.
        self.warming = warming
        self.said: Delta | None = None
        self.calls: list[Delta] = []  # of models, before the one that answered
        self.text = ""
        self.asked = False
        self.blocked: str | None = None
        self._decline = decline
        self._seconds = seconds
        self._started = time.perf_counter()
        self._ttft_ms: float | None = None
        self._output: traces.TraceStep | None = None
        self._once: dict[str, Any] = {}

    async def once(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """What is made at the first attempt at an answer; a second attempt gets the same.

        Args:
            name: of the value.
            make: makes it.

        Returns:
            The value.
        """
        if name not in self._once:
            self._once[name] = await make()
        found: T = self._once[name]
        return found

    def guard_output(self) -> traces.TraceStep:
        """One step for the checks of all sentences, from the first to the last."""
        if self._output is None:
            self._output = self.trace.step(traces.GUARD_OUTPUT)
        return self._output

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """ModelTimeoutError when the deadline passes inside."""
        try:
            async with asyncio.timeout_at(self.deadline):
                yield
        except TimeoutError:
            raise self.late() from None

    def late(self) -> ModelTimeoutError:
        return ModelTimeoutError(f"no whole answer within {self._seconds:g} s")

    def block(self, verdict: GuardOutcome) -> None:
        self.blocked = ", ".join(verdict.reasons)

    def found(self, hits: Sequence[Hit]) -> None:
        """Passages that may be quoted, beside those of searches before."""
        known = {hit.chunk_id for hit in self.hits}
        self.hits += [hit for hit in hits if hit.chunk_id not in known]

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
        calls = [*self.calls, *([self.said] if self.said else [])]
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
