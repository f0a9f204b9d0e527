"""One trace for each request, as plain records: steps, times and attributes.

The hot path only notes times and values, a few microseconds a request. Names, ids and bytes of OpenTelemetry are made
from the record afterwards (spans.py), in an exporter's thread, and only for what is sampled. The same record feeds the
metrics and the access line, so that all three always agree.

`current_trace()` is the trace of the current request, anywhere in the code; outside a request it is a record without a
reader. Texts of users may be given with `text`; they are stored only where contents are enabled.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from sluice.guardrails.guards import GuardOutcome
    from sluice.retrieval import Hit

GUARD_INPUT = "guard input"
CONDENSE = "condense"
RETRIEVE = "retrieve"
PROMPT = "prompt"
CHAT = "chat"
GUARD_PASSAGES = "guard passages"
GUARD_OUTPUT = "guard output"
GUARDS = (GUARD_INPUT, GUARD_PASSAGES, GUARD_OUTPUT)

Value = str | int | float | bool | tuple[str, ...]
_LOW_64 = (1 << 64) - 1


class TraceStep:
    """A part of a request. Used as a context manager, plain or async; entered again, it ends with the last time."""

    __slots__ = ("_contents", "attributes", "end_ns", "error", "name", "start_ns", "texts")

    def __init__(self, name: str, *, contents: bool) -> None:
        self.name = name
        self.start_ns = time.time_ns()
        self.end_ns = 0
        self.error = ""
        self.attributes: dict[str, Value] = {}
        self.texts: dict[str, Any] = {}
        self._contents = contents

    @property
    def seconds(self) -> float:
        return max(0, (self.end_ns or time.time_ns()) - self.start_ns) / 1e9

    def set(self, name: str, value: Value) -> None:
        self.attributes[name] = value

    def text(self, name: str, value: Any) -> None:
        """A text of a user or of the corpus (or a list of messages); dropped here unless contents are switched on."""
        if self._contents:
            self.texts[name] = value

    def fail(self, error: str) -> None:
        """`error`: the name of a class or a code; never a message, which may hold what a user wrote."""
        self.error = error

    def end(self) -> None:
        self.end_ns = time.time_ns()

    def verdict(self, outcome: GuardOutcome) -> None:
        """What a guard said. Of several sentences the strictest counts, and all reasons are kept."""
        seen = self.attributes
        found = "blocked" if outcome.blocked else "redacted" if outcome.reasons else "passed"
        if _STRICTNESS[found] >= _STRICTNESS[str(seen.get("sluice.guard.verdict", "passed"))]:
            seen["sluice.guard.verdict"] = found
        seen["sluice.guard.checks"] = int(seen.get("sluice.guard.checks", 0)) + 1  # type: ignore[arg-type]
        if outcome.reasons:
            reasons = {*outcome.reasons, *seen.get("sluice.guard.reasons", ())}  # type: ignore[misc]
            seen["sluice.guard.reasons"] = tuple(sorted(reasons))

    def hits(self, hits: Sequence[Hit]) -> None:
        """What a search found, best first."""
        self.attributes["sluice.retrieval.hits"] = len(hits)
        if hits:
            self.attributes["sluice.retrieval.best_similarity"] = round(max(hit.similarity for hit in hits), 4)
            self.attributes["sluice.retrieval.chunks"] = tuple(hit.chunk_id for hit in hits)
        if self._contents:
            self.texts["documents"] = [{"id": h.chunk_id, "score": h.score, "content": h.text} for h in hits]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self.error:
            self.error = kind.__name__
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


_STRICTNESS = {"passed": 0, "redacted": 1, "blocked": 2}


class Trace(TraceStep):
    """The whole request. `trace_id`, `span_id`, `parent_id` are hexadecimal as in W3C traceparent."""

    __slots__ = ("parent_id", "route", "sampled", "span_id", "status", "steps", "stream", "tenant", "trace_id")

    def __init__(
        self, trace_id: str, span_id: str, *, parent_id: str = "", sampled: bool = False, contents: bool = False
    ) -> None:
        super().__init__("request", contents=contents and sampled)
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.tenant = ""
        self.route = ""
        self.status = 0
        self.stream = False
        self.steps: list[TraceStep] = []

    def step(self, name: str) -> TraceStep:
        """Begins a step. It ends with its `with` block, or by `end`."""
        step = TraceStep(name, contents=self._contents)
        self.steps.append(step)
        return step

    def find(self, name: str) -> TraceStep | None:
        """The first step of that name."""
        return next((step for step in self.steps if step.name == name), None)


class _NullTrace(Trace):
    """Outside a request: steps work, and nothing is kept."""

    __slots__ = ()

    def step(self, name: str) -> TraceStep:
        return TraceStep(name, contents=False)

    def set(self, name: str, value: Value) -> None:
        """Nothing to keep it for."""


_UNTRACED = _NullTrace("0" * 32, "0" * 16)
_current: ContextVar[Trace] = ContextVar("sluice_trace", default=_UNTRACED)


def current_trace() -> Trace:
    """The trace of the request that is being answered in this task; one that keeps nothing outside a request."""
    return _current.get()


def enter(trace: Trace) -> Token[Trace]:
    return _current.set(trace)


def leave(token: Token[Trace]) -> None:
    _current.reset(token)


class Sampler:
    """Begins traces. A caller's traceparent keeps its trace id and decides on sampling; otherwise `ratio` does."""

    def __init__(self, ratio: float, *, contents: bool) -> None:
        # As OpenTelemetry's TraceIdRatioBased, so that services behind each other agree.
        self._bound = round(ratio * (1 << 64))
        self._contents = contents

    def begin(self, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
        """`headers` as ASGI gives them: lower-case names."""
        span_id = f"{random.getrandbits(64) or 1:016x}"
        for name, value in headers:
            if name == b"traceparent" and (parent := _parent(value)):
                trace_id, parent_id, sampled = parent
                sampled = sampled and self._bound > 0
                return Trace(trace_id, span_id, parent_id=parent_id, sampled=sampled, contents=self._contents)
        drawn = random.getrandbits(128) or 1
        return Trace(f"{drawn:032x}", span_id, sampled=drawn & _LOW_64 < self._bound, contents=self._contents)


def _parent(value: bytes) -> tuple[str, str, bool] | None:
    """Trace id, span id and sampled flag of a W3C traceparent; None when it is not one."""
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": value.decode("latin-1")}
    context = get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    if not context.is_valid:
        return None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled
