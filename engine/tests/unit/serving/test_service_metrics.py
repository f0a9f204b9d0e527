from types import SimpleNamespace
from typing import Any

import pytest

from sluice.guardrails.check import GuardOutcome
from sluice.llm.resilience import FallbackProvider, ProviderAttempt
from sluice.retrieval import Hit
from sluice.serving.service_metrics import ServiceMetrics
from sluice.serving.telemetry import traces

RELEASE = 'release="r-1"'


@pytest.fixture
def metrics() -> ServiceMetrics:
    return ServiceMetrics("r-1", lambda: 3)


def attempt(provider: str, outcome: str, cost: float | None) -> ProviderAttempt:
    return ProviderAttempt(provider, "m", outcome, 1.0, None, None, cost)


def lines(metrics: ServiceMetrics) -> list[str]:
    return metrics.page().decode().splitlines()


def test_the_other_parts_are_counted(metrics: ServiceMetrics) -> None:
    left_alone: Any = SimpleNamespace(name="local", breaker=SimpleNamespace(state="open"))
    chat = FallbackProvider([left_alone], [])
    metrics.providers(chat)
    for outcome, cost in (("answered", 0.25), ("answered", 0.5), ("slow", None)):
        for observe in chat.observers:
            observe(attempt("local", outcome, cost))
    metrics.shed("queue_full")
    metrics.queue(lambda: 7)
    metrics.feedback(1, "r-000000000001")
    metrics.feedback(0, "r-000000000001")
    metrics.dropped("mlflow", "disk", 4)
    page = lines(metrics)
    for line in (
        f'sluice_provider_attempts_total{{outcome="answered",provider="local",{RELEASE}}} 2.0',
        f'sluice_provider_attempts_total{{outcome="slow",provider="local",{RELEASE}}} 1.0',
        f'sluice_provider_open{{provider="local",{RELEASE}}} 1.0',
        f'sluice_cost_total{{provider="local",{RELEASE}}} 0.75',
        f'sluice_shed_total{{reason="queue_full",{RELEASE}}} 1.0',
        f"sluice_queue_length{{{RELEASE}}} 7.0",
        f"sluice_in_flight{{{RELEASE}}} 3.0",
        f'sluice_feedback_total{{answered_by="r-000000000001",mark="bad",{RELEASE}}} 1.0',
        f'sluice_telemetry_dropped_total{{exporter="mlflow",reason="disk",{RELEASE}}} 4.0',
    ):
        assert line in page


def test_steps_of_a_request_are_counted_although_it_is_not_sampled(metrics: ServiceMetrics) -> None:
    trace = traces.Trace()
    with trace.step(traces.GUARD_INPUT) as step:
        step.verdict(GuardOutcome("", True, ("injection.override",)))
    with trace.step(traces.GUARD_OUTPUT) as step:
        step.verdict(GuardOutcome("x", False, ("secrets.token",)))
        step.verdict(GuardOutcome("y", False, ()))
    with trace.step(traces.RETRIEVE) as step:
        step.hits([Hit("c-0", "c", "Title", "Text", 0.1, 0.55)])
    with trace.step(traces.RETRIEVE) as step:
        step.hits([])
    metrics.trace(trace)
    page = lines(metrics)
    for line in (
        f'sluice_guard_verdicts_total{{{RELEASE},stage="input",verdict="blocked"}} 1.0',
        f'sluice_guard_verdicts_total{{{RELEASE},stage="output",verdict="redacted"}} 1.0',
        f'sluice_step_seconds_count{{{RELEASE},step="retrieve"}} 2.0',
        f"sluice_retrieval_hits_sum{{{RELEASE}}} 1.0",
        f"sluice_retrieval_hits_count{{{RELEASE}}} 2.0",
        f"sluice_retrieval_best_similarity_count{{{RELEASE}}} 1.0",
    ):
        assert line in page


def test_the_number_of_values_of_a_label_is_bounded(metrics: ServiceMetrics) -> None:
    for number in range(100):
        metrics.attempt(attempt(f"provider-{number}", "answered", None))
        metrics.shed(f"reason-{number}")
    page = lines(metrics)
    assert len([line for line in page if line.startswith("sluice_provider_attempts_total{")]) == 51
    assert f'sluice_shed_total{{reason="other",{RELEASE}}} 50.0' in page
