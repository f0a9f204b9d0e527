"""By formula and by simulation: coverage, false alarms, power. The simulations are seeded, so they always agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from sluice.evaluation.statistics import (
    Bootstrap,
    Vector,
    aggregate_of,
    bootstrap,
    detectable,
    holm,
    mcnemar,
    swap_probability,
    wilson,
)
from support.libraries import Library

ROUNDS = 400
stats = Library("scipy.stats")


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def resampled(base: Vector, head: Vector, *, share: bool = False, resamples: int = 2000, seed: int = 1) -> Bootstrap:
    return bootstrap(base, head, aggregate="mean", share=share, resamples=resamples, rng=rng(seed))


def swapped(base: Vector, head: Vector, resamples: int = 2000, seed: int = 1) -> float:
    return swap_probability(base, head, aggregate="mean", resamples=resamples, rng=rng(seed))[0]


def test_percentiles_are_those_of_the_summary() -> None:
    values = np.array([[4.0, 1.0, 3.0, 2.0], [9.0, 9.0, 9.0, 1.0]])
    assert aggregate_of(values, "p50").tolist() == [2.0, 9.0]
    assert aggregate_of(values, "p95").tolist() == [4.0, 9.0]
    assert aggregate_of(values, "mean").tolist() == [2.5, 7.0]


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (0, 1), (3, 3), (2, 9), (12, 0), (1, 40), (700, 800)])
def test_mcnemar_is_the_binomial_test(fixed: int, broken: int) -> None:
    n = fixed + broken
    tail = sum(math.comb(n, k) for k in range(min(fixed, broken) + 1))
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, 2 * tail / 2**n))
    assert mcnemar(fixed, broken) == mcnemar(broken, fixed)


def test_for_pass_and_fail_swapping_is_mcnemar() -> None:
    base = np.array([1.0] * 14 + [0.0] * 6 + [1.0] * 100)
    head = np.array([0.0] * 14 + [1.0] * 6 + [1.0] * 100)
    p, test = swap_probability(base, head, aggregate="mean", resamples=10, rng=rng())
    assert (p, test) == (mcnemar(6, 14), "mcnemar")


@pytest.mark.parametrize("head", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, -0.3, 0.4, -0.1], [0.1, 0.2, -0.3, 0, 0]])
def test_few_cases_are_swapped_in_every_way(head: list[float]) -> None:
    tenths = np.round(np.array(head) * 10)
    sums = [abs(sum(signs * tenths)) for signs in itertools.product((-1, 1), repeat=5)]
    as_large = sum(total >= abs(sum(tenths)) for total in sums)
    assert swapped(np.zeros(5), np.array(head)) == as_large / 2**5


@pytest.mark.parametrize("sizes", ["many", "few"])
def test_many_cases_are_swapped_at_random(sizes: str) -> None:
    draw = rng(4)
    if sizes == "many":
        base = draw.random(80)
        head = np.clip(base + draw.normal(-0.05, 0.2, 80), 0, 1)
    else:
        base, head = (np.round(draw.integers(0, 4, 80) / 3, 3) for _ in range(2))
    signs = rng(5).choice([-1.0, 1.0], size=(20_000, 80))
    reference = (np.abs(signs @ (head - base)) >= abs((head - base).sum()) - 1e-9).mean()
    assert swapped(base, head, resamples=20_000) == pytest.approx(reference, abs=0.015)


def test_the_interval_is_near_the_plain_percentiles_for_many_cases() -> None:
    draw = rng(3)
    base, head = draw.random(400), draw.random(400) ** 2
    mine = resampled(base, head, resamples=10_000).interval(0.95)
    reference = stats.bootstrap((head - base,), np.mean, n_resamples=10_000, method="percentile", rng=rng(5))
    assert mine == pytest.approx(tuple(reference.confidence_interval), abs=0.004)


def test_the_same_seed_gives_the_same_figures() -> None:
    base, head = rng(1).random(60), rng(2).random(60)
    assert resampled(base, head).interval(0.99) == resampled(base, head).interval(0.99)
    assert resampled(base, head).interval(0.99) != resampled(base, head, seed=2).interval(0.99)
    assert swapped(base, head) == swapped(base, head)


def test_a_share_that_nothing_moved_still_has_a_width() -> None:
    same = np.ones(40)
    low, high = resampled(same, same, share=True).interval(0.95)
    assert low < -0.02
    assert high > 0.02
    assert low == pytest.approx(-high, abs=0.03)
    assert swapped(same, same) == 1.0


def test_an_amount_that_moves_alike_everywhere_has_none() -> None:
    base = np.arange(30.0)
    assert resampled(base, base + 1).interval(0.99) == (1.0, 1.0)
    assert swapped(base, base + 1) == mcnemar(30, 0)


def test_one_case_says_nothing() -> None:
    found = bootstrap(np.array([2.0]), np.array([5.0]), aggregate="mean", share=False, resamples=100, rng=rng())
    assert found.interval(0.95) == (-math.inf, math.inf)
    assert found.error == math.inf
    assert swapped(np.array([2.0]), np.array([5.0])) == 1.0


def flips(n: int, broken: float, fixed: float) -> Callable[[np.random.Generator], tuple[Vector, Vector]]:
    def draw(source: np.random.Generator) -> tuple[Vector, Vector]:
        fates = source.choice([-1.0, 0.0, 1.0], size=n, p=[broken, 1 - broken - fixed, fixed])
        base = np.where(fates < 0, 1.0, np.where(fates > 0, 0.0, 1.0))
        return base, base + fates

    return draw


def skewed(n: int) -> Callable[[np.random.Generator], tuple[Vector, Vector]]:
    def draw(source: np.random.Generator) -> tuple[Vector, Vector]:
        base = source.gamma(2.0, 100.0, n)
        return base, base + source.gamma(1.0, 50.0, n)  # true difference 50

    return draw


@pytest.mark.parametrize(
    ("draw", "truth", "share", "least"),
    [
        (flips(20, 0.1, 0.1), 0.0, True, 0.93),
        (flips(40, 0.02, 0.02), 0.0, True, 0.95),
        (flips(40, 0.3, 0.05), -0.25, True, 0.92),
        (flips(150, 0.05, 0.01), -0.04, True, 0.92),
        (skewed(20), 50.0, False, 0.89),
        (skewed(150), 50.0, False, 0.92),
    ],
    ids=["20 flips", "40 rare flips", "40 broken", "150 broken", "20 skewed", "150 skewed"],
)
def test_intervals_cover_the_truth(
    draw: Callable[[np.random.Generator], tuple[Vector, Vector]], truth: float, share: bool, least: float
) -> None:
    """Of 95 % intervals; 400 rounds have a standard error of 1.1 points."""
    source, held = rng(7), 0
    for number in range(ROUNDS):
        low, high = resampled(*draw(source), share=share, resamples=800, seed=number).interval(0.95)
        held += low <= truth <= high
    assert held / ROUNDS >= least


@pytest.mark.parametrize("n", [8, 20, 150])
@pytest.mark.parametrize("kind", ["flips", "shares", "times"])
def test_sides_that_are_alike_are_rarely_called_different(n: int, kind: str) -> None:
    """At 5 %, the bound is 5 % and three standard errors."""
    source, alarms = rng(11), 0
    for number in range(ROUNDS):
        if kind == "flips":
            chance = source.choice([0.02, 0.5, 0.98], n)
            base, head = (source.random(n) < chance) * 1.0, (source.random(n) < chance) * 1.0
        else:
            middle = source.random(n) if kind == "shares" else source.lognormal(6, 1, n)
            base, head = middle * source.random(n), middle * source.random(n)
        alarms += swapped(base, head, resamples=500, seed=number) <= 0.05
    assert alarms / ROUNDS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / ROUNDS)


def test_percentiles_are_swapped_too() -> None:
    source, alarms = rng(13), 0
    for number in range(120):
        base, head = source.lognormal(6, 0.5, 60), source.lognormal(6, 0.5, 60)
        p, _ = swap_probability(base, head, aggregate="p95", resamples=300, rng=rng(number))
        alarms += p <= 0.05
    assert alarms / 120 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 120)
    p, _ = swap_probability(base, base * 3, aggregate="p95", resamples=2000, rng=rng())
    assert p < 0.001
    low, high = bootstrap(base, base * 3, aggregate="p50", share=False, resamples=2000, rng=rng()).interval(0.95)
    assert 0 < low < 2 * np.median(base) < high


def test_a_difference_called_detectable_is_found_as_often_as_said() -> None:
    source, found, n = rng(17), 0, 60
    error = resampled(np.zeros(n), source.normal(0.0, 0.3, n), resamples=4000).error
    true = detectable(0.3 / math.sqrt(n), level=0.95, power=0.8)
    assert error == pytest.approx(0.3 / math.sqrt(n), rel=0.2)
    for number in range(ROUNDS):
        found += swapped(np.zeros(n), source.normal(true, 0.3, n), resamples=500, seed=number) <= 0.05
    assert found / ROUNDS == pytest.approx(0.8, abs=0.06)


def test_holm_is_the_textbook_s() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, 0.95)
    assert {name: one.p for name, one in found.items()} == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert [name for name, one in found.items() if one.rejected] == ["d", "a"]
    # Held against 0.05/4, 0.05/3 and, from the first that failed on, 0.05/2.
    levels = [found[name].level for name in ("d", "a", "c", "b")]
    assert levels == pytest.approx([1 - 0.05 / 4, 1 - 0.05 / 3, 1 - 0.05 / 2, 1 - 0.05 / 2])
    assert holm({}, 0.95) == {}


def test_holm_never_rejects_more_than_no_correction_and_never_less_than_bonferroni() -> None:
    source = rng(19)
    for _ in range(200):
        probabilities = {str(k): float(p) for k, p in enumerate(source.random(8) ** 3)}
        rejected = {name for name, one in holm(probabilities, 0.9).items() if one.rejected}
        assert {name for name, p in probabilities.items() if p <= 0.1 / 8} <= rejected
        assert rejected <= {name for name, p in probabilities.items() if p <= 0.1}
        assert all((one.p <= 0.1 + 1e-12) == one.rejected for one in holm(probabilities, 0.9).values())


def test_wilson() -> None:
    assert wilson(0.5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0.0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(1.0, 10) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))
