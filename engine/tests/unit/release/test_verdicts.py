"""A comparison as verdicts: they pass exactly when it does, and each says what was found and what the limit is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.registry import make_metrics
from sluice.release.verdicts import quality_report, verdicts_of

ROOT = Path(__file__).parents[4]
NAMES = ("answer_key", "decline_accuracy", "citation_correctness")


def found(head: dict[str, float], cases: int = 60) -> Comparison:
    """Stable is right in everything; of `head`, every case has the score."""
    policy = load_policy(ROOT / "config" / "gates.yaml")
    policy = policy.model_copy(update={"metrics": {name: policy.metrics[name] for name in NAMES}})
    metrics = [metric for metric in make_metrics() if metric.name in NAMES]
    return compare(_records(dict.fromkeys(NAMES, 1.0), cases), _records(head, cases), metrics, policy)


def _records(scores: dict[str, float], cases: int) -> list[dict[str, Any]]:
    return [
        {
            **{"id": f"case-{n}", "trial": 0, "question": "?", "expected": ["x"], "tags": [], "status": "answered"},
            **{"answer": "x", "declined": False, "retrieved": [], "citations": [], "recorded": False, "cost": None},
            **{"scores": dict(scores), "labels": {}, "assertions": {}, "errors": {}},
        }
        for n in range(cases)
    ]


GOOD = dict.fromkeys(NAMES, 1.0)


def test_like_answers_pass_with_a_verdict_for_each_metric_that_decides() -> None:
    verdicts = verdicts_of(found(GOOD), "quality")
    assert {one.gate: one.passed for one in verdicts} == {f"quality_{name}": True for name in NAMES}
    assert all(one.samples == 60 and one.figure == one.reference == 1.0 for one in verdicts)


def test_worse_answers_fail_with_value_limit_and_cases() -> None:
    (worse,) = (one for one in verdicts_of(found(GOOD | {"answer_key": 0.25}), "quality") if not one.passed)
    assert (worse.gate, worse.metric, worse.figure, worse.reference, worse.limit) == (
        "quality_answer_key",
        "answer_key",
        0.25,
        1.0,
        0.02,
    )
    assert worse.reason.startswith("gate quality_answer_key: answer_key is 0.250 against 1.000 of stable, ")
    assert worse.reason.endswith("over 60 cases; limit: not worse by 0.020 or more at confidence 0.99")
    assert worse.cases[0] == "case-0"


def test_too_few_cases_fail() -> None:
    comparison = found(GOOD, cases=19)
    assert not comparison.passed
    verdicts = verdicts_of(comparison, "quality")
    assert [one.passed for one in verdicts] == [False] * 3
    assert all(one.figure is None and "too few cases (19)" in one.reason for one in verdicts)


def test_what_was_not_judged_fails_and_hides_what_follows_from_it() -> None:
    comparison = replace(found(GOOD, cases=19), reasons=("the canary failed on 'case-3': status 503",))
    (verdict,) = verdicts_of(comparison, "quality")
    assert not verdict.passed
    assert verdict.reason == "quality: the canary failed on 'case-3': status 503"


@pytest.mark.parametrize("head", [GOOD, GOOD | {"answer_key": 0.25}, GOOD | {"decline_accuracy": 0.0}])
@pytest.mark.parametrize("cases", [5, 60])
@pytest.mark.parametrize("reasons", [(), ("something was not asked",)])
def test_verdicts_pass_exactly_when_the_comparison_does(
    head: dict[str, float], cases: int, reasons: tuple[str, ...]
) -> None:
    comparison = replace(found(head, cases), reasons=reasons)
    verdicts = verdicts_of(comparison, "quality")
    assert verdicts
    assert all(one.passed for one in verdicts) == comparison.passed


def test_metrics_that_only_decide_when_asked_do_not_pass_on_silence() -> None:
    policy = found(GOOD).policy.model_dump()
    policy["metrics"] = {"answer_key": {"decides": "when_asked"}}
    asked = replace(found(GOOD, cases=5), policy=type(found(GOOD).policy).model_validate(policy))
    metrics = tuple(replace(metric, decides="when_asked") for metric in asked.metrics)
    silent = replace(asked, metrics=metrics)
    assert silent.verdict == "too few cases"
    assert [one.reason for one in verdicts_of(silent, "quality") if not one.passed] == ["quality: too few cases"]


def test_the_report_has_figures_of_both_sides() -> None:
    comparison = found(GOOD | {"answer_key": 0.25})
    report = quality_report(comparison)
    assert report["figures"]["canary"]["answer_key"] == 0.25
    assert report["figures"]["stable"]["answer_key"] == 1.0
    assert report["comparison"] == comparison.as_dict()
    assert len(report["verdicts"]) == 3
