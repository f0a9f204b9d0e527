from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import MetricPolicy, load_policy
from sluice.evaluation.metric_resources import open_metrics
from sluice.release.gates import load_gates
from support.serving.fakes import scripted_bundle

GATES = Path(__file__).parents[4] / "config" / "gates.yaml"
TEXT = """comparison:
  confidence: 0.99
  power: 0.8
  resamples: 10000
  seed: 1
  minimum_cases: 20
  slices: {minimum_cases: 20, at_most: 12}
  metrics:
    f1: {decides: always, smallest: 0.02, minimum_cases: 30}
    mrr: {}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    return path


def test_the_repository_s_policy_is_about_its_metrics() -> None:
    policy = load_policy(GATES)
    with open_metrics(scripted_bundle()) as metrics:
        found = compare([], [], metrics, policy)
    assert {metric.name for metric in found.metrics} == {
        name for name, m in policy.metrics.items() if m.decides == "always"
    }
    assert {"answer_key", "decline_accuracy", "citation_correctness"} <= {metric.name for metric in found.metrics}
    assert load_gates(GATES), "the gates stand in the same file"


def test_what_is_not_said_is_general(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, TEXT))
    assert (policy.least("f1"), policy.least("mrr"), policy.least("tokens")) == (30, 20, 20)
    assert (policy.of("mrr").decides, policy.of("tokens").decides) == ("never", "never")


def test_the_larger_of_both_matters() -> None:
    metric = MetricPolicy(smallest=2.0, smallest_ratio=0.1)
    assert (metric.matters(10.0), metric.matters(100.0), metric.matters(-100.0)) == (2.0, 10.0, 10.0)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("power", "powers", "gates.yaml:3: comparison.powers: unknown key (did you mean 'power'?)"),
        ("decides: always", "decides: sometimes", "gates.yaml:9: comparison.metrics.f1.decides:"),
        ("decides: always, ", "", "metrics: none of them decides, so every change would pass"),
        ("resamples: 10000", "resamples: 150", "resamples: 150 cannot tell 1 metrics apart at confidence 0.99"),
        ("smallest: 0.02", "smallest: .nan", "gates.yaml:9: comparison.metrics.f1.smallest:"),
        (
            "power: 0.8",
            "power: 0.8\n  looks: [{share: 0.5, alpha: 0.5}]",
            "looks: the shares must rise, and the last one",
        ),
        ("power: 0.8", "power: 0.8\n  looks: [{share: 1, alpha: 0.5}]", "looks: the parts of alpha must add up to 1"),
        ("power: 0.8", "power: 0.8\n  looks: []", "looks: the shares must rise, and the last one must be 1"),
        ("confidence: 0.99", "confidence: 1.0", "gates.yaml:2: comparison.confidence:"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, fault: str) -> None:
    with pytest.raises(ValidationErrors) as caught:
        load_policy(written(tmp_path, TEXT.replace(old, new, 1)))
    assert fault in str(caught.value)


def test_without_a_policy_nothing_is_compared(tmp_path: Path) -> None:
    with pytest.raises(ValidationErrors, match="comparison: Field required"):
        load_policy(written(tmp_path, "gates: []\n"))
