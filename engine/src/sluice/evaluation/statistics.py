"""Paired statistics: how much of a difference between two sides is sampling noise of the cases.

All functions take one number for each case and side; cases are the unit of resampling. Interval by bootstrap,
probability by swapping the sides of cases, which for pass/fail is McNemar's exact test. Each function gives the source
of its formula. The thresholds are in config/gates.yaml.
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

_SHARES: dict[str, float] = {"p50": 0.5, "p95": 0.95}
# Sums of decimal fractions differ in their last digits with the order of summing.
_DIGITS = 12
# Arrays of resamples are made in pieces of about this many numbers, so that thousands of cases fit in memory.
_PIECE = 4_000_000
# Up to this many cases that differ, every way of swapping them is tried: 4,096 at most.
_ALL_SWAPS = 12


def aggregate_of(values: Vector, aggregate: Aggregate) -> Vector:
    """Mean or nearest-rank percentile over the last axis."""
    if aggregate == "mean":
        return np.asarray(values.mean(axis=-1))
    place = max(0, math.ceil(_SHARES[aggregate] * values.shape[-1]) - 1)
    return np.asarray(np.partition(values, place, axis=-1)[..., place])


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
            t = student_quantile(1 - tail, self.cases - 1)
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
    if aggregate != "mean":
        return Bootstrap(_resampled_percentiles(base, head, aggregate, resamples, rng), len(base))
    differences = np.round(head - base, _DIGITS)
    if share:
        differences = np.append(differences, (-1.0, 1.0))
    values, counts = np.unique(differences, return_counts=True)
    n = len(differences)
    if len(values) <= max(3, n // 8):  # few distinct values: how often each is drawn says it all
        draws = rng.multinomial(n, counts / n, size=resamples) @ values / n
    else:
        draws = _in_pieces(n, resamples, lambda rows: differences[_indices(rng, n, rows)].mean(axis=1))
    return Bootstrap(draws, n, padded=share)


def _resampled_percentiles(
    base: Vector, head: Vector, aggregate: Aggregate, resamples: int, rng: np.random.Generator
) -> Vector:
    def piece(rows: int) -> Vector:
        drawn = _indices(rng, len(base), rows)
        return aggregate_of(head[drawn], aggregate) - aggregate_of(base[drawn], aggregate)

    return _in_pieces(len(base), resamples, piece)


def _indices(rng: np.random.Generator, n: int, rows: int) -> NDArray[np.integer[Any]]:
    return rng.integers(0, n, size=(rows, n), dtype=np.min_scalar_type(n - 1))


def _in_pieces(n: int, resamples: int, piece: Callable[[int], Vector]) -> Vector:
    rows = max(1, _PIECE // max(1, n))
    return np.concatenate([piece(min(rows, resamples - start)) for start in range(0, resamples, rows)])


def swap_probability(
    base: Vector, head: Vector, *, aggregate: Aggregate, resamples: int, rng: np.random.Generator
) -> tuple[float, str]:
    """Two-sided probability of a difference this large if the sides were alike, and the name of the test.

    If head is base asked again, each case could as well have come out the other way round; so the sides of cases are
    swapped at random (Fisher, The Design of Experiments, 1935, section 21). That holds for any number of cases and any
    distribution. Where all cases that differ do so by the same amount it is McNemar's exact test; up to twelve of them
    all swaps are counted; else `resamples` random ones, where p = (1 + as large) / (1 + resamples), so that it is never
    0 (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010)).
    """
    differences = np.round(head - base, _DIGITS)
    differences = differences[differences != 0]
    if aggregate != "mean" and len(differences):
        return _percentile_swaps(base, head, aggregate, resamples, rng), "swaps"
    values, counts = np.unique(np.abs(differences), return_counts=True)
    if len(values) <= 1:
        return mcnemar(int((differences > 0).sum()), int((differences < 0).sum())), "mcnemar"
    m = len(differences)
    observed = abs(float(differences.sum())) - 10.0**-_DIGITS * m
    if m <= _ALL_SWAPS:
        signs = (np.arange(2**m)[:, None] >> np.arange(m)) % 2 * 2 - 1
        return float((np.abs(signs @ differences) >= observed).mean()), "swaps"
    if len(values) <= m // 8:  # few distinct sizes: of each, how many go up
        sums = (2 * rng.binomial(counts, 0.5, size=(resamples, len(values))) - counts) @ values
    else:
        sums = 2 * _in_pieces(m, resamples, lambda rows: _coins(rng, rows, m) @ differences) - differences.sum()
    return (1 + int((np.abs(sums) >= observed).sum())) / (1 + resamples), "swaps"


def _coins(rng: np.random.Generator, rows: int, m: int) -> NDArray[np.uint8]:
    """Zeros and ones, (rows, m)."""
    drawn = np.frombuffer(rng.bytes((rows * m + 7) // 8), np.uint8)
    return np.unpackbits(drawn, count=rows * m).reshape(rows, m)


def _percentile_swaps(
    base: Vector, head: Vector, aggregate: Aggregate, resamples: int, rng: np.random.Generator
) -> float:
    observed = abs(float(aggregate_of(head, aggregate) - aggregate_of(base, aggregate)))

    def piece(rows: int) -> Vector:
        swapped = _coins(rng, rows, len(base)).astype(bool)
        one, other = np.where(swapped, base, head), np.where(swapped, head, base)
        return np.abs(aggregate_of(one, aggregate) - aggregate_of(other, aggregate))

    found = _in_pieces(len(base), resamples, piece)
    return (1 + int((found >= observed - 10.0**-_DIGITS).sum())) / (1 + resamples)


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided probability that `fixed` and `broken` cases differ as they do, when either is as likely.

    min(1, 2 P(X <= min(fixed, broken))), X ~ Binomial(fixed + broken, 1/2): McNemar, Psychometrika 12 (1947), in its
    exact form. Cases that came out alike on both sides say nothing about the difference.
    """
    n = fixed + broken
    below = sum(math.comb(n, k) for k in range(min(fixed, broken) + 1))
    return float(min(1.0, 2 * below / 2**n))


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


def student_quantile(share: float, degrees: int) -> float:
    """Quantile of Student's t, `share` above one half; exact for 1 and 2 degrees of freedom.

    From 3 on by the expansion of Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5, which is
    within one per cent for ten degrees and more up to a share of 0.9995; below that it is too small in far tails.
    """
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        a = 2 * share - 1
        return a * math.sqrt(2 / (1 - a * a))
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, 1))
