import math
from collections.abc import Callable

import numpy as np
import pytest

from sluice.evaluation.statistics import Bootstrap, Vector, bootstrap, holm, swap_probability

ROUNDS = 400


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def resampled(base: Vector, head: Vector, *, share: bool = False, resamples: int = 2000, seed: int = 1) -> Bootstrap:
    return bootstrap(base, head, aggregate="mean", share=share, resamples=resamples, rng=rng(seed))


def swapped(base: Vector, head: Vector, resamples: int = 2000, seed: int = 1) -> float:
    return swap_probability(base, head, aggregate="mean", resamples=resamples, rng=rng(seed))[0]


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (0, 1), (3, 3), (6, 14), (1, 40), (700, 800)])
def test_for_pass_and_fail_swapping_is_mcnemar_and_that_the_binomial_test(fixed: int, broken: int) -> None:
    n = fixed + broken
    tail = sum(math.comb(n, k) for k in range(min(fixed, broken) + 1))
    base, head = [1.0] * broken + [0.0] * fixed + [1.0] * 100, [0.0] * broken + [1.0] * (fixed + 100)
    p, test = swap_probability(np.array(base), np.array(head), aggregate="mean", resamples=10, rng=rng())
    assert (p, test) == (pytest.approx(min(1.0, 2 * tail / 2**n)), "mcnemar")


def test_a_share_that_nothing_moved_still_has_a_width() -> None:
    same = np.ones(40)
    low, high = resampled(same, same, share=True).interval(0.95)
    assert low < -0.02
    assert high > 0.02
    assert low == pytest.approx(-high, abs=0.03)
    assert swapped(same, same) == 1.0


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
        (flips(40, 0.02, 0.02), 0.0, True, 0.95),
        (flips(40, 0.3, 0.05), -0.25, True, 0.92),
        (skewed(20), 50.0, False, 0.89),
    ],
    ids=["rare flips", "broken", "skewed"],
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


@pytest.mark.parametrize(("kind", "n"), [("flips", 150), ("shares", 8), ("times", 8)])
def test_sides_that_are_alike_are_rarely_called_different(kind: str, n: int) -> None:
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


def test_holm_is_the_textbook_s() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, 0.95)
    assert {name: one.p for name, one in found.items()} == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert [name for name, one in found.items() if one.rejected] == ["d", "a"]
    # Held against 0.05/4, 0.05/3 and, from the first that failed on, 0.05/2.
    levels = [found[name].level for name in ("d", "a", "c", "b")]
    assert levels == pytest.approx([1 - 0.05 / 4, 1 - 0.05 / 3, 1 - 0.05 / 2, 1 - 0.05 / 2])
    assert holm({}, 0.95) == {}
