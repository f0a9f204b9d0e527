"""Prometheus metrics of one release (engine/docs/reference/telemetry.md).

No label holds what a user wrote, but for the release in feedback; after 50 values of a label the rest is `other`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from sluice.serving.answer import Answer
from sluice.serving.telemetry.traces import GUARDS, RETRIEVE, Trace

if TYPE_CHECKING:
    from sluice.llm.resilience import FallbackProvider, ProviderAttempt
    from sluice.serving.telemetry.telemetry import Telemetry

_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 13, 20, 30)
# Guards and prompts take less than a millisecond, a search a few, the model seconds.
_STEP_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_HITS = (0, 1, 2, 3, 5, 8, 13, 20, 50)
_SIMILARITY = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_MOST_VALUES = 50


M = TypeVar("M", Counter, Histogram, Gauge)


class _LabelledSeries(Generic[M]):
    """Children of one metric by label values, bounded in number."""

    def __init__(self, metric: M, release: str) -> None:
        self._metric: M = metric
        self._release = release
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= _MOST_VALUES:
                values = ("other",) * len(values)
            child = self._children[values] = self._metric.labels(self._release, *values)
        return child


class ServiceMetrics:
    """Thread-safe."""

    def __init__(self, release: str, in_flight: Callable[[], int]) -> None:
        self._release = release
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter, gauge = partial(self._series, Counter), partial(self._series, Gauge)
        seconds = partial(self._series, Histogram, buckets=_SECONDS)
        self._requests = counter("requests", "Requests by route and status.", "route", "status")
        self._latency = seconds("request_seconds", "Time from a request to the end of its answer.", "route")
        self._ttft = seconds("time_to_first_token_seconds", "Time until the first checked text of an answer was sent.")
        self._steps = self._series(
            Histogram,
            "step_seconds",
            "Time of one part of an answer: guards, search, prompt, model.",
            "step",
            buckets=_STEP_SECONDS,
        )
        self._tokens = counter("tokens", "Tokens of the model.", "kind")
        self._cost = counter("cost", "Cost of model calls, in US dollars.", "provider")
        self._hits = self._series(Histogram, "retrieval_hits", "Passages that a search found.", buckets=_HITS)
        self._similarity = self._series(
            Histogram, "retrieval_best_similarity", "Cosine of the nearest passage of a search.", buckets=_SIMILARITY
        )
        self._verdicts = counter(
            "guard_verdicts",
            "Texts by stage (input, output) and verdict (passed, redacted, blocked).",
            "stage",
            "verdict",
        )
        self._blocked = counter("blocked", "Answers refused by a guardrail, by reason.", "reason")
        self._declined = counter("declined", "Questions the passages held no answer to.")
        self._attempts = counter("provider_attempts", "Calls of a provider by outcome.", "provider", "outcome")
        self._open = gauge("provider_open", "1 while a provider's circuit breaker is open.", "provider")
        self._shed = counter("shed", "Requests refused because the service is full, by reason.", "reason")
        self._feedback = counter(
            "feedback", "Scores given by users, by the release that gave the answer.", "mark", "answered_by"
        )
        self._dropped = counter(
            "telemetry_dropped", "Spans, scores and log lines that were lost, by reason.", "exporter", "reason"
        )
        self._telemetry_queue = gauge("telemetry_queue", "Spans and scores that wait.", "exporter")
        self._declined()  # so that the series is there, as 0, before the first one
        self._in_flight = gauge("in_flight", "Questions being answered now.")
        self._in_flight().set_function(in_flight)
        self._queue = gauge("queue_length", "Requests that wait in the queue.")

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests(route, str(status)).inc()
        self._latency(route).observe(seconds)

    def answer(self, answer: Answer) -> None:
        if answer.ttft_ms is not None:
            self._ttft().observe(answer.ttft_ms / 1000)
        self._tokens("prompt").inc(answer.usage.prompt_tokens)
        self._tokens("completion").inc(answer.usage.completion_tokens)
        if answer.blocked:
            for reason in answer.blocked.split(", "):
                self._blocked(reason).inc()
        elif answer.declined:
            self._declined().inc()

    def shed(self, reason: str) -> None:
        self._shed(reason).inc()

    def queue(self, length: Callable[[], int]) -> None:
        self._queue().set_function(length)

    def feedback(self, value: float, answered_by: str) -> None:
        self._feedback("good" if value >= 0.5 else "bad", answered_by).inc()

    def attempt(self, attempt: ProviderAttempt) -> None:
        self._attempts(attempt.provider, attempt.outcome).inc()
        if attempt.cost is not None:
            self._cost(attempt.provider).inc(attempt.cost)

    def providers(self, chat: FallbackProvider) -> None:
        chat.observers.append(self.attempt)
        for name in chat.states:
            self._open(name).set_function(lambda name=name: float(chat.states[name] != "closed"))  # type: ignore[misc]

    def trace(self, trace: Trace) -> None:
        for step in trace.steps:
            self._steps(step.name).observe(step.seconds)
            if step.name in GUARDS:
                stage = step.name.removeprefix("guard ")
                # Without a verdict the check was cut off: the request was cancelled.
                if verdict := step.attributes.get("sluice.guard.verdict"):
                    self._verdicts(stage, str(verdict)).inc()
            elif step.name == RETRIEVE and "sluice.retrieval.hits" in step.attributes:
                self._hits().observe(float(step.attributes["sluice.retrieval.hits"]))  # type: ignore[arg-type]
                if "sluice.retrieval.best_similarity" in step.attributes:
                    best = float(step.attributes["sluice.retrieval.best_similarity"])  # type: ignore[arg-type]
                    self._similarity().observe(best)

    def dropped(self, exporter: str, reason: str, count: int) -> None:
        self._dropped(exporter, reason).inc(count)

    def watch(self, telemetry: Telemetry) -> None:
        telemetry.on_lost = self.dropped
        for exporter, queue in telemetry.queues.items():
            self._telemetry_queue(exporter).set_function(queue.__len__)

    def page(self) -> bytes:
        return generate_latest(self.registry)

    def _series(self, kind: type[M], name: str, what: str, *labels: str, **options: Any) -> _LabelledSeries[M]:
        metric = kind(f"sluice_{name}", what, ("release", *labels), registry=self.registry, **options)
        return _LabelledSeries(metric, self._release)
