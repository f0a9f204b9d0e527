"""Paired statistics: how much of a difference between two sides is sampling noise of the cases.

All functions take one number for each case and side; cases are the unit of resampling, which is scipy's. Interval by
bootstrap, probability by swapping the sides of cases, which for pass/fail is McNemar's exact test. Each function gives
the source of its formula. The thresholds are in config/gates.yaml.

scipy is imported inside: it takes a second, and most commands compare nothing.
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
    """Mean or nearest-rank percentile."""
    if aggregate == "mean":
        return np.asarray(values.mean(axis=axis))
    return np.asarray(np.percentile(values, _PERCENT[aggregate], axis=axis, method="inverted_cdf"))


@dataclass(frozen=True)
class Bootstrap:
    """Differences (head - base) of resampled sets of cases: `draws` (resamples,), made from `cases` cases.

    `padded`: two cases were added (see `bootstrap`), which makes up for small samples by itself.
    """

    draws: Vector
    cases: int
    padded: bool = False

    @property
    def error(self) -> float:
        """Standard error of the difference, in the unit of the metric."""
        return float(self.draws.std()) * math.sqrt(self.cases / (self.cases - 1)) if self.cases > 1 else math.inf

    def interval(self, level: float) -> tuple[float, float]:
        """Percentile interval at confidence `level`, 0 to 1; without bounds for fewer than two cases.

        A plain percentile interval is too narrow for few cases, by the factor sqrt((n-1)/n) and by taking the normal
        for Student's t. Unless padded, the tail is taken at Phi(-sqrt(n/(n-1)) t(alpha/2, n-1)) instead: Hesterberg,
        What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), section 5.3. BCa needs the
        skewness of a jackknife, 0/0 when all cases differ alike and wild when few flip; both are everyday cases here.
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
    """Resamples cases with replacement, both sides together. `base`, `head`: (cases,), at least one.

    `share`: the values lie in 0 to 1. Then two cases are added before resampling, one that is all better and one that
    is all worse: with them forty cases of which none flipped give an interval around 0 and not 0 itself, and coverage
    holds for few flips. It is the Laplace adjustment of Bonett and Price, Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data, J. Educational and Behavioral Statistics 37 (2012).
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
    """Two-sided probability of a difference this large if the sides were alike, and the name of the test.

    If head is base asked again, each case could as well have come out the other way round; so the sides of cases are
    swapped at random (Fisher, The Design of Experiments, 1935, section 21). That holds for any number of cases and any
    distribution. Where all cases that differ do so by the same amount it is McNemar's exact test. Else every way to
    swap them is counted, or, where there are more, `resamples` random ones, where p = (1 + as large) / (1 + resamples)
    is never 0 (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010)).
    """
    sides, difference = _resampled(base, head, aggregate)
    if aggregate == "mean":
        (differences,) = sides = (sides[0][sides[0] != 0],)
        if len(np.unique(np.abs(differences))) <= 1:
            return mcnemar(int((differences > 0).sum()), int((differences < 0).sum())), "mcnemar"
    if len(base) < 2:
        return 1.0, "swaps"
    from scipy import stats

    options = {"n_resamples": resamples, "batch": _rows(len(base)), "rng": rng}
    found = stats.permutation_test(sides, difference, permutation_type="samples", vectorized=True, **options)
    return float(found.pvalue), "swaps"


def _resampled(base: Vector, head: Vector, aggregate: Aggregate) -> tuple[tuple[Vector, ...], Callable[..., Any]]:
    """The samples that scipy draws from or swaps, and their statistic. A mean needs the differences alone: to swap the
    sides is to change their sign."""
    if aggregate == "mean":
        return (np.round((head - base) * _WHOLE),), np.mean
    sides = np.round(base * _WHOLE), np.round(head * _WHOLE)
    return sides, lambda old, new, axis: aggregate_of(new, aggregate, axis) - aggregate_of(old, aggregate, axis)


def _rows(cases: int) -> int:
    return max(1, min(_PIECE // cases, _PIECE_ROWS))


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided probability that `fixed` and `broken` cases differ as they do, when either is as likely.

    The binomial test of one half: McNemar, Psychometrika 12 (1947), in its exact form. Cases that came out alike on
    both sides say nothing about the difference.
    """
    from scipy import stats

    return float(stats.binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


@dataclass(frozen=True)
class AdjustedProbability:
    """A probability after correction for many metrics, and the confidence level at which its metric was judged."""

    p: float
    level: float
    rejected: bool


def holm(probabilities: Mapping[str, float], confidence: float) -> dict[str, AdjustedProbability]:
    """Holm's step-down correction: the chance of one false rejection or more over all together is 1 - confidence.

    Sorted upwards, the k-th of m is held against alpha / (m - k + 1), and the first that fails ends it (Holm, A simple
    sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979)). `level` is 1 minus
    what a metric was held against, so an interval at that level shows what decided.
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
    """Smallest true difference that is found with probability `power` by a two-sided test at confidence `level`.

    (z(1 - alpha/2) + z(power)) times the standard error of the difference: Bloom, Minimum Detectable Effects,
    Evaluation Review 19 (1995). In the unit of `error`; it is the normal approximation, good from about 20 cases on.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - (1 - level) / 2) + normal.inv_cdf(power)) * error


def wilson(share: float, cases: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; unlike share ± 2 errors it has a width at 0 and 1."""
    from scipy import stats

    low, high = stats.binomtest(round(share * cases), cases).proportion_ci(0.95, method="wilson")
    return float(low), float(high)
