"""What Prometheus sees of one release. Each service has a registry of its own; every series carries the release."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from sluice.app.answer import Answer

_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 13, 20, 30)


class Metrics:
    """Counters and histograms of the service, named sluice_*."""

    def __init__(self, release: str, in_flight: Callable[[], int]) -> None:
        self._release = release
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "sluice_requests", "Requests by route and status.", ("release", "route", "status"), registry=self.registry
        )
        self._latency = Histogram(
            "sluice_request_seconds",
            "Time from a request to the end of its answer.",
            ("release", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._ttft = Histogram(
            "sluice_time_to_first_token_seconds",
            "Time until the first checked text of an answer was sent.",
            ("release",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter("sluice_tokens", "Tokens of the model.", ("release", "kind"), registry=self.registry)
        self._blocked = Counter(
            "sluice_blocked",
            "Answers refused by a guardrail, by reason.",
            ("release", "reason"),
            registry=self.registry,
        )
        self._declined = Counter(
            "sluice_declined", "Questions the passages held no answer to.", ("release",), registry=self.registry
        )
        self._declined.labels(release)  # so that the series is there, as 0, before the first one
        gauge = Gauge("sluice_in_flight", "Questions being answered now.", ("release",), registry=self.registry)
        gauge.labels(release).set_function(in_flight)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(self._release, route, str(status)).inc()
        self._latency.labels(self._release, route).observe(seconds)

    def answer(self, answer: Answer) -> None:
        if answer.ttft_ms is not None:
            self._ttft.labels(self._release).observe(answer.ttft_ms / 1000)
        self._tokens.labels(self._release, "prompt").inc(answer.usage.prompt_tokens)
        self._tokens.labels(self._release, "completion").inc(answer.usage.completion_tokens)
        if answer.blocked:
            for reason in answer.blocked.split(", "):
                self._blocked.labels(self._release, reason).inc()
        elif answer.declined:
            self._declined.labels(self._release).inc()

    def page(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
