"""One question on its way through the application, and what its answer has come to so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Protocol, TypeVar

from sluice.core.errors import SluiceError
from sluice.guardrails.check import GuardOutcome
from sluice.llm.chat import Delta, Messages
from sluice.retrieval import Hit
from sluice.serving.answer import REFUSED, TOO_LONG, Answer, ModelTimeoutError, Usage, cite, first_words
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.traces import record_call

T = TypeVar("T")


class CallerOptions(Protocol):
    """`names`: of the fields that ask for something. `whole`: the answer has a form, and is checked as a whole.
    `exchange`: calls of the caller's tools after the question, and their results, which follow the prompt. `claims`:
    what of it is said to be a model's, which a caller can invent."""

    names: frozenset[str]
    whole: bool
    exchange: Sequence[dict[str, Any]]
    claims: Sequence[str]

    def parameters(self, longest: int, *, brief: bool) -> dict[str, Any]:
        """Parameters of the model's call."""

    async def settle(self, text: str, request: RequestState, check: Callable[..., Awaitable[str]]) -> str:
        """Notes calls of the caller's tools in the request. Another form is refused once, if nothing was sent yet."""

    def quotes(self, text: str) -> list[str]:
        """The texts of an answer that may be quotations."""


class RequestState:
    """Made within the event loop, for one question.

    Attributes:
        messages: the conversation as it was sent.
        question: the last user message, as the input guard lets it pass.
        tenant: whose documents may be used beside those for everybody.
        deadline: until when there must be a whole answer; a time of the event loop's clock.
        options: what the caller asks for beside the answer.
        refused: why a guard refused the answer before this one; empty at the first attempt.
        hits: the passages that were found and may be quoted, best first; the answer cites from them.
        doubted: whether `small_model.max_doubt` is passed: they do not seem to answer the question.
        trace: of the request; an application may add steps of its own.
        steps: calls of the application's own tools, in their order: `name`, `args`, `outcome`.
    """

    def __init__(
        self,
        messages: Messages,
        tenant: str | None,
        *,
        decline: str,
        seconds: float,
        warming: bool = False,
        options: CallerOptions | None = None,
    ) -> None:
        self.messages = messages
        self.question = ""
        self.tenant = tenant
        self.options = options
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.refused: tuple[str, ...] = ()
        self.hits: list[Hit] = []
        self.steps: list[dict[str, Any]] = []
        self.doubted = False
        self.trace = traces.current_trace()
        # The engine's own.
        self.warming = warming
        self.said: Delta | None = None  # the end of the model's reply that is the answer
        self.calls: list[Delta] = []  # the ends of all replies of models
        self.called: dict[Any, dict[str, Any]] = {}  # by place: calls of tools in the model's last reply
        self.tool_calls: tuple[dict[str, Any], ...] = ()  # of those of the caller, checked
        self.replies: list[AsyncGenerator[Any, None]] = []  # of models, to be closed when an answer is given up
        self.text = ""
        self.asked = False
        self.blocked: str | None = None
        self.withheld: set[str] = set()  # what the guards found in results of the caller's tools
        self._declined = False
        self._decline = decline
        self._seconds = seconds
        self._started = time.perf_counter()
        self._ttft_ms: float | None = None
        self._once: dict[str, Any] = {}
        self._preparation: traces.TraceStep | None = None

    @property
    def conversation(self) -> list[dict[str, str]]:
        last = max(place for place, message in enumerate(self.messages) if message["role"] == "user")
        return [
            {"role": message["role"], "content": self.question if place == last else message["content"]}
            for place, message in enumerate(self.messages)
        ]

    @property
    def refusal(self) -> bool:
        """A refusal stands where the caller asked for a form."""
        return bool(self.options and self.options.whole and (self.blocked or not self.asked))

    @contextmanager
    def preparation(self, name: str) -> Iterator[traces.TraceStep]:
        """A step of the trace before the answer: models asked within it don't answer the question."""
        with self.trace.step(name) as step:
            self._preparation = step
            try:
                yield step
            finally:
                self._preparation = None

    def step(self, name: str) -> AbstractContextManager[traces.TraceStep]:
        return nullcontext(self._preparation) if self._preparation else self.trace.step(name)

    def replied(self, step: traces.TraceStep, end: Delta, model: str) -> None:
        self.calls.append(end)
        record_call(step, end, model)
        if not self._preparation:
            self.said = end

    async def close_replies(self) -> None:
        """End what models still write: LangChain leaves generators of a chain that is given up to the garbage
        collector."""
        for reply in self.replies:
            with suppress(RuntimeError):  # a task of the chain still runs it, and is being cancelled
                await reply.aclose()
        self.replies.clear()

    async def once(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return a value made once per answer: a second attempt reuses the first one's.

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

    @cached_property
    def output_step(self) -> traces.TraceStep:
        return self.trace.step(traces.GUARD_OUTPUT)

    async def in_time(self, call: Awaitable[T], grace: float = 0.0) -> T:
        """Await until the deadline and `grace` seconds more, then raise ModelTimeoutError."""
        try:
            async with asyncio.timeout_at(self.deadline + grace) as limit:
                return await call
        except TimeoutError:
            if limit.expired():
                raise self.late() from None
            raise  # one of the application's own

    def late(self) -> ModelTimeoutError:
        return ModelTimeoutError(f"no whole answer within {self._seconds:g} s")

    def block(self, verdict: GuardOutcome) -> None:
        self.blocked = ", ".join(verdict.reasons)

    def instead(self) -> str:
        self._declined = True
        if not self.blocked:
            return self._decline
        return TOO_LONG if self.blocked == "length.too_long" and not self.asked else REFUSED

    def found(self, hits: Sequence[Hit]) -> None:
        known = {hit.chunk_id for hit in self.hits}
        self.hits += [hit for hit in hits if hit.chunk_id not in known]

    def sent(self, piece: str) -> str:
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed()
            self.trace.set("sluice.time_to_first_token", round(self._ttft_ms / 1000, 6))
        self.text += piece
        return piece

    def finish(self) -> Answer:
        last = self.said or Delta()
        ended = "content_filter" if self.blocked else last.finish_reason or "stop"
        usages = [said.usage for said in self.calls if said.usage is not None]
        costs = [said.cost for said in self.calls if said.cost is not None]
        declined = self._declined or first_words(self.text) == first_words(self._decline)
        quoted = self.text.strip().partition("\n")[2] if declined else self.text
        quotes = self.options.quotes(quoted) if self.options else [quoted]
        return Answer(
            text=self.text,
            declined=declined,
            blocked=self.blocked or ", ".join(sorted(self.withheld)) or None,
            citations=() if self.blocked else tuple(c for text in quotes for c in cite(text, self.hits)),
            hits=tuple(self.hits),
            usage=sum(usages, Usage(0, 0)),
            finish_reason="tool_calls" if self.tool_calls else "stop" if ended == "tool_calls" else ended,
            ttft_ms=self._ttft_ms,
            latency_ms=self._elapsed(),
            provider=last.provider,
            cost=sum(costs) if costs and len(costs) == len(self.calls) else None,
            model=last.model,
            tool_calls=self.tool_calls,
            refusal=self.refusal,
            steps=tuple(self.steps),
        )

    def _elapsed(self) -> float:
        return (time.perf_counter() - self._started) * 1000


_CURRENT: ContextVar[RequestState] = ContextVar("request")


def current_request() -> RequestState:
    try:
        return _CURRENT.get()
    except LookupError:
        raise SluiceError(
            "the models and the search of a release answer within a request, and there is none",
            remedy="ask the application as a whole; in tests by `testing.run_application`",
        ) from None


def enter_request(request: RequestState) -> None:
    """Make it the current request of this task. It is never left, as a generator may end in another task."""
    _CURRENT.set(request)
