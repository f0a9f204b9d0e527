"""One trace for each request: spans of OpenTelemetry, and the record that metrics and the access line read.

Attributes and redacted texts are put on the spans when the answer is out (telemetry.py)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import INVALID_SPAN, NoOpTracer, Span, SpanKind, Tracer, format_trace_id, set_span_in_context

from sluice.llm.chat import Delta, Usage
from sluice.serving.answer import Answer

if TYPE_CHECKING:
    from sluice.guardrails.check import GuardOutcome
    from sluice.retrieval import Hit


GUARD_INPUT = "guard input"
CONDENSE = "condense"
RETRIEVE = "retrieve"
PROMPT = "prompt"
CHAT = "chat"
GUARD_PASSAGES = "guard passages"
GUARD_OUTPUT = "guard output"
GUARDS = (GUARD_INPUT, GUARD_PASSAGES, GUARD_OUTPUT)
REQUEST = "request"

Value = str | int | float | bool | tuple[str, ...]
_STRICTNESS = {"passed": 0, "redacted": 1, "blocked": 2}


class TraceStep:
    """A part of a request. Used as a context manager; entered again, it ends with the last time.

    Attributes:
        span: OpenTelemetry's, not recording where the request is not sampled. It ends with the request.
        attributes: put on the span when the request ends; so are `texts`, redacted.
        error: the name of a class or a code; empty while nothing failed.
    """

    __slots__ = ("_contents", "attributes", "end_ns", "error", "name", "span", "start_ns", "texts")

    def __init__(self, name: str, span: Span, *, contents: bool, start_ns: int | None = None) -> None:
        self.name = name
        self.span = span
        self.start_ns = start_ns or time.time_ns()
        self.end_ns = 0
        self.error = ""
        self.attributes: dict[str, Value] = {}
        self.texts: dict[str, Any] = {}
        self._contents = contents

    @property
    def seconds(self) -> float:
        return max(0, (self.end_ns or time.time_ns()) - self.start_ns) / 1e9

    def set(self, name: str, value: Value) -> None:
        """Notes an attribute.

        Args:
            name: of OpenTelemetry's conventions, or one that begins with `sluice.` or the fork's own prefix.
            value: never a text of a user; `text` is for those.
        """
        self.attributes[name] = value

    def text(self, name: str, value: Any) -> None:
        """Notes a text of a user or of the corpus; dropped here unless contents are switched on.

        Args:
            name: `input` or `output` for a list of messages, `query` for a string.
            value: the text; it is redacted before it leaves the process.
        """
        if self._contents:
            self.texts[name] = value

    def fail(self, error: str) -> None:
        """`error`: the name of a class or a code; never a message, which may hold what a user wrote."""
        self.error = error

    def end(self) -> None:
        self.end_ns = time.time_ns()

    def verdict(self, outcome: GuardOutcome) -> None:
        """Record a guard's outcome. Of several sentences the strictest counts, and all reasons are kept."""
        seen = self.attributes
        found = "blocked" if outcome.blocked else "redacted" if outcome.reasons else "passed"
        if _STRICTNESS[found] >= _STRICTNESS[str(seen.get("sluice.guard.verdict", "passed"))]:
            seen["sluice.guard.verdict"] = found
        seen["sluice.guard.checks"] = int(seen.get("sluice.guard.checks", 0)) + 1  # type: ignore[arg-type]
        if outcome.reasons:
            reasons = {*outcome.reasons, *seen.get("sluice.guard.reasons", ())}  # type: ignore[misc]
            seen["sluice.guard.reasons"] = tuple(sorted(reasons))

    def hits(self, hits: Sequence[Hit]) -> None:
        """Record the hits of a search, best first."""
        self.attributes["sluice.retrieval.hits"] = len(hits)
        if hits:
            self.attributes["sluice.retrieval.best_similarity"] = round(max(hit.similarity for hit in hits), 4)
            self.attributes["sluice.retrieval.chunks"] = tuple(hit.chunk_id for hit in hits)
        if self._contents:
            self.texts["documents"] = [{"id": h.chunk_id, "score": h.score, "content": h.text} for h in hits]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self.error:
            self.error = kind.__name__
        self.end()


class Trace(TraceStep):
    """The whole request; its span is the root. Without arguments it is a record only."""

    __slots__ = ("_tracer", "route", "status", "steps", "stream", "tenant")

    def __init__(self, span: Span = INVALID_SPAN, tracer: Tracer | None = None, *, contents: bool = False) -> None:
        super().__init__(REQUEST, span, contents=contents and span.is_recording())
        self._tracer = tracer or NoOpTracer()
        self.tenant = ""
        self.route = ""
        self.status = 0
        self.stream = False
        self.steps: list[TraceStep] = []

    @property
    def trace_id(self) -> str:
        return format_trace_id(self.span.get_span_context().trace_id)

    def step(self, name: str) -> TraceStep:
        """Begins a step. It ends with its `with` block, or by `end`."""
        span: Span = INVALID_SPAN
        now = time.time_ns()
        if self.span.is_recording():
            kind = SpanKind.CLIENT if name in (CHAT, CONDENSE) else SpanKind.INTERNAL
            # All steps are children of the root: generators suspend within them, so none can be the current span.
            span = self._tracer.start_span(name, set_span_in_context(self.span), kind, start_time=now)
        step = TraceStep(name, span, contents=self._contents, start_ns=now)
        self.steps.append(step)
        return step

    def find(self, name: str) -> TraceStep | None:
        return next((step for step in reversed(self.steps) if step.name == name), None)


CURRENT: ContextVar[Trace | None] = ContextVar("sluice_trace", default=None)


def current_trace() -> Trace:
    return CURRENT.get() or Trace()


def record(trace: Trace, answer: Answer, said: Delta | None, model: str) -> None:
    trace.set(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (answer.finish_reason,))
    trace.set("sluice.declined", answer.declined)
    if answer.blocked:
        trace.set("sluice.blocked", answer.blocked)
    trace.set("sluice.citations", len(answer.citations))
    trace.text("output", [{"role": "assistant", "content": answer.text}])
    if (step := trace.find(CHAT)) is None:  # declined or refused before the model was asked
        return
    if said is None:
        record_call(step, Delta(), model)
    step.set(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (answer.finish_reason,))
    step.text("output", [{"role": "assistant", "content": answer.text}])


def record_call(step: TraceStep, said: Delta, model: str) -> None:
    usage = said.usage or Usage(0, 0)
    step.set(gen_ai.GEN_AI_REQUEST_MODEL, said.model or model)
    step.set(gen_ai.GEN_AI_PROVIDER_NAME, said.provider or "local")
    step.set(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, usage.prompt_tokens)
    step.set(gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, usage.completion_tokens)
    if said.cost is not None:
        step.set("sluice.cost", said.cost)
