"""Verdicts from paired measurements: improved, worse, no significant difference, too few cases.

A metric is improved or worse when its p-value is significant after Holm's correction, its interval at that level
excludes 0, and the difference matters to the policy. A fall of a deterministic metric needs the last alone, but only
once all cases are asked: in a part of them, one case moves the mean by more than it will move that of all.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from sluice.evaluation.comparison_policy import ComparisonPolicy, LookPolicy
from sluice.evaluation.statistics import (
    Aggregate,
    Bootstrap,
    Vector,
    aggregate_of,
    bootstrap,
    detectable,
    holm,
    swap_probability,
)

MetricVerdict = Literal["improved", "worse", "no difference seen", "too few cases"]

# Differences of decimal fractions are off by about 1e-17; one that equals what matters does matter.
_DIGITS = 9
_FEWEST = 5  # cases; a standard error of fewer says nothing


@dataclass(frozen=True)
class PairedSample:
    """One metric over the cases that have it on both sides: `base` and `head` (cases,), in the metric's unit.

    `key` seeds the random numbers, so that a metric keeps its figures when another is added. `share`: the values lie in
    0 to 1. `usable`: the number of cases that count towards enough; None is all.
    """

    key: str
    metric: str
    higher: bool
    aggregate: Aggregate
    share: bool
    base: Vector
    head: Vector
    usable: int | None = None

    @property
    def cases(self) -> int:
        return len(self.base) if self.usable is None else self.usable

    def unjudged(self, policy: ComparisonPolicy) -> MetricJudgement:
        """Return the judgement of too few cases, without statistics."""
        if not len(self.base):
            smallest = policy.of(self.metric).smallest
            return MetricJudgement(None, None, self.cases, "too few cases", smallest=smallest)
        base, head = (float(aggregate_of(side, self.aggregate)) for side in (self.base, self.head))
        gains = (self.head - self.base) * (1 if self.higher else -1)
        return MetricJudgement(
            base,
            head,
            self.cases,
            "too few cases",
            smallest=policy.of(self.metric).matters(base),
            better=int((gains > 0).sum()),
            worse=int((gains < 0).sum()),
        )


@dataclass(frozen=True)
class MetricJudgement:
    """Figures in the metric's unit, None where there is nothing to compute them from.

    `low` to `high` is the interval of the difference (head - base) at confidence `level`, with `standard_error`; `p` is
    the probability of a difference this large between like sides, `p_adjusted` the same after Holm and for all looks.
    `detectable`: the smallest difference that all cases find with the policy's power; `smallest`: the smallest that
    matters.
    """

    base: float | None
    head: float | None
    cases: int
    verdict: MetricVerdict
    low: float | None = None
    high: float | None = None
    level: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    test: str | None = None
    standard_error: float | None = None
    detectable: float | None = None
    smallest: float = 0.0
    better: int = 0
    worse: int = 0

    @property
    def difference(self) -> float | None:
        return None if self.base is None or self.head is None else self.head - self.base

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"difference": self.difference}


def judge(
    samples: Sequence[PairedSample],
    policy: ComparisonPolicy,
    minimum: int | None = None,
    look: LookPolicy | None = None,
) -> list[MetricJudgement]:
    """Judge the samples, which are one family for the correction.

    `look`: the planned look that this is; None for a single one. Before the last look a metric needs its share of the
    cases alone: the tests are exact for any number of them.
    """
    share, part, last = (look.share, look.alpha, policy.looks[-1].alpha) if look else (1.0, 1.0, 1.0)
    alpha, resamples = 1 - policy.confidence, round(policy.resamples / part)
    drawn: dict[str, tuple[Bootstrap, float, str]] = {}
    for sample in samples:
        least = minimum or max(math.ceil(share * policy.least(sample.metric)), _FEWEST)
        if sample.cases >= least:
            rng = np.random.default_rng([policy.seed, zlib.crc32(sample.key.encode())])
            sides, aggregate = (sample.base, sample.head), sample.aggregate
            made = bootstrap(*sides, aggregate=aggregate, share=sample.share, resamples=resamples, rng=rng)
            drawn[sample.key] = made, *swap_probability(*sides, aggregate=aggregate, resamples=resamples, rng=rng)
    family = holm({key: p for key, (_, p, _) in drawn.items()}, 1 - alpha * part)
    first = 1 - alpha * last / max(1, len(drawn))
    found = []
    for sample in samples:
        one = sample.unjudged(policy)
        if sample.key in drawn:
            (made, p, test), adjusted = drawn[sample.key], family[sample.key]
            low, high = made.interval(adjusted.level)
            sure = adjusted.rejected and not low <= 0 <= high
            one = replace(
                one,
                verdict=_verdict(one, sample, sure=sure, exact=share == 1 and policy.of(sample.metric).deterministic),
                low=_finite(low),
                high=_finite(high),
                level=adjusted.level,
                p=p,
                p_adjusted=min(1.0, adjusted.p / part),
                test=test,
                standard_error=_finite(made.error),
                detectable=_finite(detectable(made.error * math.sqrt(share), level=first, power=policy.power)),
            )
        found.append(one)
    return found


def _verdict(one: MetricJudgement, sample: PairedSample, *, sure: bool, exact: bool) -> MetricVerdict:
    difference = one.difference or 0.0
    fell = difference != 0 and (difference < 0) == sample.higher
    sure = sure or (fell and exact)
    if not sure or round(abs(difference), _DIGITS) < round(one.smallest, _DIGITS):
        return "no difference seen"
    return "worse" if fell else "improved"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
