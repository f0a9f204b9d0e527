from __future__ import annotations

import numpy as np
import pytest

from sluice.evaluation.comparison_policy import ComparisonPolicy
from sluice.evaluation.significance import PairedSample, judge

POLICY = ComparisonPolicy.model_validate(
    {
        "confidence": 0.95,
        "power": 0.8,
        "resamples": 2000,
        "seed": 1,
        "minimum_cases": 10,
        "slices": {"minimum_cases": 10, "at_most": 5},
        "metrics": {"f1": {"decides": "always", "smallest": 0.1}, "words": {"smallest_ratio": 0.5}},
    }
)


def sample(
    metric: str, base: list[float], head: list[float], *, higher: bool = True, usable: int | None = None
) -> PairedSample:
    return PairedSample(metric, metric, higher, "mean", metric == "f1", np.array(base), np.array(head), usable)


def test_the_verdict_follows_the_direction() -> None:
    up = ([0.0] * 20, [1.0] * 20)
    assert [judge([sample("f1", *up, higher=higher)], POLICY)[0].verdict for higher in (True, False)] == [
        "improved",
        "worse",
    ]
    found = judge([sample("f1", *up, higher=False)], POLICY)[0]
    assert (found.difference, found.better, found.worse, found.test) == (1.0, 0, 20, "mcnemar")


def test_the_difference_must_matter_and_the_limit_does() -> None:
    base = [10.0] * 30
    for head, verdict in (([14.9] * 30, "no difference seen"), ([15.0] * 30, "worse")):
        (found,) = judge([sample("words", base, head, higher=False)], POLICY)
        assert (found.verdict, found.smallest) == (verdict, 5.0)


def test_more_metrics_need_stronger_evidence() -> None:
    """Six broken of twenty have p = 0.03: enough alone, not among five."""
    one = sample("f1", [1.0] * 20, [0.0] * 6 + [1.0] * 14)
    others = [sample(f"m{k}", [1.0] * 20, [1.0] * 20) for k in range(4)]
    assert judge([one], POLICY)[0].verdict == "worse"
    among = judge([one, *others], POLICY)[0]
    assert (among.verdict, among.p) == ("no difference seen", 2 / 2**6)
    assert among.p_adjusted == pytest.approx(5 * 2 / 2**6)
    assert among.level == pytest.approx(1 - 0.05 / 5)


def test_another_metric_leaves_the_draws_as_they_are() -> None:
    draw = np.random.default_rng(3)
    one = sample("f1", list(draw.random(30)), list(draw.random(30)))
    alone, among = judge([one], POLICY)[0], judge([sample("words", [1.0] * 30, [1.0] * 30), one], POLICY)[1]
    assert alone.p == among.p
    assert alone.base == among.base


def test_too_few_and_none_at_all() -> None:
    few, none, unusable = judge(
        [
            sample("f1", [1.0] * 9, [0.0] * 9),
            sample("words", [], []),
            sample("m", [1.0] * 30, [2.0] * 30, usable=3),
        ],
        POLICY,
    )
    assert (few.verdict, few.cases, few.base, few.head, few.p) == ("too few cases", 9, 1.0, 0.0, None)
    assert (none.verdict, none.cases, none.base, none.difference) == ("too few cases", 0, None, None)
    assert (unusable.verdict, unusable.cases, unusable.head) == ("too few cases", 3, 2.0)
