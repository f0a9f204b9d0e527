"""Paired statistics: how much of a difference between two sides is sampling noise of the cases.

All functions take one number for each case and side. scipy is imported inside: it takes a second, and most commands
compare nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
Aggregate: TypeAlias = Literal["mean", "p50", "p95"]

_PERCENT = {"p50": 50, "p95": 95}
# What is resampled is whole numbers, 1 of a metric as this many: sums of fractions depend on the order of summing.
_WHOLE = 1e12
# scipy makes arrays of resamples in pieces of at most so many numbers and rows, so that thousands of cases fit in
# memory, and dozens in the processor's cache.
_PIECE, _PIECE_ROWS = 2_000_000, 1500


def aggregate_of(values: Vector, aggregate: Aggregate, axis: int = -1) -> Vector:
    if aggregate == "mean":
        return np.asarray(values.mean(axis=axis))
    return np.asarray(np.percentile(values, _PERCENT[aggregate], axis=axis, method="inverted_cdf"))


@dataclass(frozen=True)
class Bootstrap:
    """Differences (head - base) of resampled sets of cases: `draws` (resamples,), made from `cases` cases."""

    draws: Vector
    cases: int
    padded: bool = False

    @property
    def error(self) -> float:
        """Standard error of the difference, in the unit of the metric."""
        return float(self.draws.std()) * math.sqrt(self.cases / (self.cases - 1)) if self.cases > 1 else math.inf

    def interval(self, level: float) -> tuple[float, float]:
        """Return the percentile interval at confidence `level`, 0 to 1; without bounds for fewer than two cases.

        A plain percentile interval is too narrow for few cases, by the factor sqrt((n-1)/n) and by taking the normal
        for Student's t. Unless padded, the tail is taken at Phi(-sqrt(n/(n-1)) t(alpha/2, n-1)) instead: Hesterberg,
        What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), section 5.3. BCa fails when
        all cases differ alike (0/0) and is wild when few flip.
        """
        if self.cases < 2:
            return -math.inf, math.inf
        tail = (1 - level) / 2
        if not self.padded:
            from scipy import stats

            t = stats.t.ppf(1 - tail, self.cases - 1)
            tail = NormalDist().cdf(-math.sqrt(self.cases / (self.cases - 1)) * t)
        low, high = np.quantile(self.draws, [tail, 1 - tail])
        return float(low), float(high)


def bootstrap(
    base: Vector, head: Vector, *, aggregate: Aggregate, share: bool, resamples: int, rng: np.random.Generator
) -> Bootstrap:
    """Resample cases with replacement, both sides together. `base`, `head`: (cases,), at least one.

    `share`: the values lie in 0 to 1. Then one case that is all better and one that is all worse are added, so that
    forty cases without a flip don't give an interval of width 0: Bonett and Price, Adjusted Wald confidence interval
    for a difference of binomial proportions based on paired data, J. Educational and Behavioral Statistics 37 (2012).
    """
    padded = share and aggregate == "mean"
    if padded:
        base, head = np.append(base, (1.0, 0.0)), np.append(head, (0.0, 1.0))
    n = len(base)
    if n < 2:
        return Bootstrap(head - base, n)
    from scipy import stats

    sides, difference = _resampled(base, head, aggregate)
    options = {"n_resamples": resamples, "batch": _rows(n), "method": "percentile", "rng": rng}
    found = stats.bootstrap(sides, difference, paired=True, vectorized=True, **options)
    return Bootstrap(found.bootstrap_distribution / _WHOLE, n, padded)


def swap_probability(
    base: Vector, head: Vector, *, aggregate: Aggregate, resamples: int, rng: np.random.Generator
) -> tuple[float, str]:
    """Return the two-sided probability of a difference this large if the sides were alike, and the name of the test.

    The sides of cases are swapped at random (Fisher, The Design of Experiments, 1935, section 21). Where all cases that
    differ do so by the same amount it is McNemar's exact test (Psychometrika 12 (1947)). Else all swaps are counted or,
    where there are more, `resamples` random ones, for which p is never 0 (Phipson and Smyth, Statistical Applications
    in Genetics and Molecular Biology 9 (2010)).
    """
    from scipy import stats

    sides, difference = _resampled(base, head, aggregate)
    if aggregate == "mean":
        (differences,) = sides = (sides[0][sides[0] != 0],)
        if len(np.unique(np.abs(differences))) <= 1:
            fixed = int((differences > 0).sum())
            return float(stats.binomtest(fixed, len(differences)).pvalue) if len(differences) else 1.0, "mcnemar"
    if len(base) < 2:
        return 1.0, "swaps"
    options = {"n_resamples": resamples, "batch": _rows(len(base)), "rng": rng}
    found = stats.permutation_test(sides, difference, permutation_type="samples", vectorized=True, **options)
    return float(found.pvalue), "swaps"


def _resampled(base: Vector, head: Vector, aggregate: Aggregate) -> tuple[tuple[Vector, ...], Callable[..., Any]]:
    """Return the samples that scipy draws from or swaps, and their statistic; for a mean the differences are enough."""
    if aggregate == "mean":
        return (np.round((head - base) * _WHOLE),), np.mean
    sides = np.round(base * _WHOLE), np.round(head * _WHOLE)
    return sides, lambda old, new, axis: aggregate_of(new, aggregate, axis) - aggregate_of(old, aggregate, axis)


def _rows(cases: int) -> int:
    return max(1, min(_PIECE // cases, _PIECE_ROWS))


@dataclass(frozen=True)
class AdjustedProbability:
    """A probability after correction for many metrics, and the confidence level at which its metric was judged."""

    p: float
    level: float
    rejected: bool


def holm(probabilities: Mapping[str, float], confidence: float) -> dict[str, AdjustedProbability]:
    """Correct for many metrics: the chance of any false rejection is 1 - confidence.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979). `level`
    is 1 minus what a metric was held against, so an interval at that level shows what decided.
    """
    alpha = 1 - confidence
    m, highest, stopped = len(probabilities), 0.0, None
    found: dict[str, AdjustedProbability] = {}
    for k, (name, p) in enumerate(sorted(probabilities.items(), key=lambda item: (item[1], item[0]))):
        highest = max(highest, min(1.0, (m - k) * p))
        if stopped is None and highest > alpha:
            stopped = 1 - alpha / (m - k)
        found[name] = AdjustedProbability(highest, 1 - alpha / (m - k) if stopped is None else stopped, stopped is None)
    return found


def detectable(error: float, *, level: float, power: float) -> float:
    """Return the smallest true difference that a two-sided test finds with probability `power`, in the unit of `error`.

    It is the normal approximation: Bloom, Minimum Detectable Effects, Evaluation Review 19 (1995).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - (1 - level) / 2) + normal.inv_cdf(power)) * error


def wilson(share: float, cases: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share; unlike share ± 2 errors it has a width at 0 and 1."""
    from scipy import stats

    low, high = stats.binomtest(round(share * cases), cases).proportion_ci(0.95, method="wilson")
    return float(low), float(high)
