from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.data.rows import Row
from sluice.evaluation.asked_rows import asking_order
from sluice.evaluation.comparison_policy import ComparisonPolicy, load_policy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.registry import NamedMeasure
from sluice.evaluation.sequential import SequentialComparison

GATES = load_policy(Path(__file__).parents[4] / "config" / "gates.yaml")
CASES = 200
SIMULATED = 120
METRICS = [NamedMeasure(name, "share", "higher", "mean") for name in ("right", "cited", "rank")]


def policy(**metrics: dict[str, Any]) -> ComparisonPolicy:
    """The looks are those of the repository; five of a hundred changes that change nothing are called different."""
    deciding = {name: {"decides": "always"} | more for name, more in metrics.items()}
    settings = {
        **GATES.model_dump(),
        "confidence": 0.95,
        "resamples": 400,
        "metrics": deciding or {"right": {"decides": "always"}},
    }
    return ComparisonPolicy.model_validate(settings)


def records(**scores: list[float | None]) -> list[dict[str, Any]]:
    names = [f"q{n}" for n in range(len(next(iter(scores.values()))))]
    return [
        {"id": name, "question": name, "answer": "x", "scores": dict(zip(scores, values, strict=True))}
        for name, *values in zip(names, *scores.values(), strict=True)
    ]


def walk(test: SequentialComparison, base: list[dict[str, Any]], head: list[dict[str, Any]]) -> Comparison:
    found = (test.look(base[:asked], head[:asked]) for asked in test.looks)
    return next(comparison for comparison in found if comparison)


@pytest.fixture(scope="module")
def simulate() -> Callable[[float, float, int], list[Comparison]]:
    """Compare changes that break and fix cases with the given chances; each count of broken and fixed is looked at
    once."""
    test = SequentialComparison(METRICS[:1], policy().model_copy(update={"minimum_cases": 15}), SIMULATED)

    @cache
    def look(asked: int, broken: int, fixed: int) -> Comparison | None:
        base = [1.0] * broken + [0.0] * fixed + [1.0] * (asked - broken - fixed)
        head = [0.0] * broken + [1.0] * (asked - broken)
        return test.look(records(right=base), records(right=head))

    def one(changes: Any) -> Comparison:
        found = (look(n, int((changes[:n] < 0).sum()), int((changes[:n] > 0).sum())) for n in test.looks)
        return next(comparison for comparison in found if comparison)

    def many(broken: float, fixed: float, times: int) -> list[Comparison]:
        rng = np.random.default_rng(5)
        drawn = rng.choice([-1, 1, 0], size=(times, SIMULATED), p=[broken, fixed, 1 - broken - fixed])
        return [one(changes) for changes in drawn]

    return many


def test_a_change_that_changes_nothing_is_hardly_ever_called_different(simulate: Any) -> None:
    verdicts = Counter(comparison.verdict for comparison in simulate(0.03, 0.03, 2000))
    assert 0 < verdicts["worse"] + verdicts["improved"] <= 0.05 * 2000


def test_a_difference_of_the_stated_size_is_found_with_the_stated_power(simulate: Any) -> None:
    found = simulate(0.1, 0.01, 2000)
    stated = np.mean([comparison.metrics[0].judgement.detectable for comparison in found])
    assert stated == pytest.approx(0.09, abs=0.005)
    share = sum(comparison.verdict == "worse" for comparison in found) / 2000
    assert share >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / 2000)
    assert np.mean([comparison.asked for comparison in found]) < 0.95 * SIMULATED


def test_the_same_answers_end_early_and_a_changed_search_does_not() -> None:
    test = SequentialComparison(METRICS, policy(right={}, rank={"deterministic": True, "smallest": 0.02}), CASES)
    same = records(right=[1.0] * CASES, rank=[1.0] * CASES)
    found = walk(test, same, same)
    assert (found.verdict, found.asked) == ("no difference seen", 100)
    assert found.stopped == "Stopped after 100 of 200 cases: no deciding metric can differ by its detectable size."
    moved = walk(test, same, records(right=[1.0] * CASES, rank=[0.5, *[1.0] * (CASES - 1)]))
    assert (moved.verdict, moved.asked, moved.stopped) == ("no difference seen", CASES, "")


def test_a_fall_of_a_deterministic_metric_counts_when_all_cases_are_asked() -> None:
    test = SequentialComparison(METRICS, policy(right={}, rank={"deterministic": True, "smallest": 0.02}), CASES)
    base = records(right=[1.0] * CASES, rank=[1.0] * CASES)
    first = records(right=[1.0] * CASES, rank=[*[0.5] * 3, *[1.0] * (CASES - 3)])
    assert walk(test, base, first).verdict == "no difference seen", "of the first 25 it is 0.06, of all 0.0075"
    all_over = records(right=[1.0] * CASES, rank=[0.5 if n % 20 == 0 else 1.0 for n in range(CASES)])
    assert (found := walk(test, base, all_over)).verdict == "worse"
    assert found.asked == CASES


def test_improved_waits_until_no_other_metric_can_be_worse() -> None:
    test = SequentialComparison(METRICS, policy(right={}, cited={"smallest": 0.02}), CASES)
    better = [0.0] * CASES, [1.0] * CASES
    found = walk(test, records(right=better[0], cited=[1.0] * CASES), records(right=better[1], cited=[1.0] * CASES))
    assert (found.verdict, found.asked) == ("improved", 100)
    dipping = [0.0 if n % 20 == 0 else 1.0 for n in range(CASES)]
    found = walk(test, records(right=better[0], cited=[1.0] * CASES), records(right=better[1], cited=dipping))
    assert (found.verdict, found.asked) == ("worse", CASES)


def test_looks_at_fewer_cases_than_a_metric_needs_are_left_out() -> None:
    assert SequentialComparison(METRICS, policy(), CASES).looks == (25, 50, 100, 200)
    assert SequentialComparison(METRICS, policy(), 60).looks == (30, 60)
    assert SequentialComparison(METRICS, policy(), 10).looks == (10,)
    with pytest.raises(ValueError, match="26 cases are no planned look"):
        SequentialComparison(METRICS, policy(), CASES).look(*[records(right=[1.0] * 26)] * 2)


def test_the_order_is_by_digest_and_not_by_file() -> None:
    rows = [Row(id=f"q{n}", question=f"How many of {n}?", answers=(), doc_ids=()) for n in range(100)]
    order = [row.id for row in asking_order(rows)]
    assert order == [row.id for row in asking_order(rows[::-1])]
    assert sorted(order) == sorted(row.id for row in rows)
    assert order[:3] == ["q98", "q75", "q63"], "another salt would be another order"
    other = [row.model_copy(update={"question": f"{row.question} And why?"}) for row in rows]
    assert [row.id for row in asking_order(other)] != order
