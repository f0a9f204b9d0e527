"""Verdicts from paired measurements: improved, worse, no significant difference, too few cases.

A metric is improved or worse when three conditions hold: its p-value is significant after Holm's correction over all
metrics judged with it, its interval at the corrected level excludes 0, and the difference is at least the smallest one
that the policy counts. A metric that the policy calls deterministic is worse by the last of these alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sluice.evaluation.comparison_policy import ComparisonPolicy
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


@dataclass(frozen=True)
class PairedSample:
    """One metric over the cases that have it on both sides: `base` and `head` (cases,), in the metric's unit.

    `share`: the values lie in 0 to 1. `key` is what the random numbers depend on, so that a metric keeps its figures
    when another is added. `usable`: how many of the cases count towards enough; None is all.
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
    def gains(self) -> Vector:
        """What each case gained on the base; above 0 is better whatever the metric's direction."""
        return (self.head - self.base) * (1 if self.higher else -1)


@dataclass(frozen=True)
class MetricJudgement:
    """What was found. Figures in the metric's unit, None where there is nothing to compute them from.

    `low` to `high` is the interval of the difference (head - base) at confidence `level`; `p` is the probability of a
    difference this large between like sides, `p_adjusted` the same after Holm. `detectable`: the smallest difference
    that would have been found with the power of the policy; `smallest`: the smallest that matters.
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
    detectable: float | None = None
    smallest: float = 0.0
    better: int = 0
    worse: int = 0

    @property
    def difference(self) -> float | None:
        return None if self.base is None or self.head is None else self.head - self.base


def judge(
    samples: Sequence[PairedSample], policy: ComparisonPolicy, minimum: int | None = None
) -> list[MetricJudgement]:
    """One judgement for each sample; all of them are one family for the correction. `minimum`: cases, in place of the
    policy's."""
    drawn: dict[str, tuple[Bootstrap, float, str]] = {}
    for sample in samples:
        if _count(sample) >= (minimum or policy.least(sample.metric)):
            rng = np.random.default_rng([policy.seed, zlib.crc32(sample.key.encode())])
            made = bootstrap(
                sample.base,
                sample.head,
                aggregate=sample.aggregate,
                share=sample.share,
                resamples=policy.resamples,
                rng=rng,
            )
            p, test = swap_probability(
                sample.base, sample.head, aggregate=sample.aggregate, resamples=policy.resamples, rng=rng
            )
            drawn[sample.key] = (made, p, test)
    adjusted = holm({key: p for key, (_, p, _) in drawn.items()}, policy.confidence)
    first = 1 - (1 - policy.confidence) / max(1, len(drawn))
    found = []
    for sample in samples:
        if sample.key not in drawn:
            found.append(_unjudged(sample, policy))
            continue
        made, p, test = drawn[sample.key]
        one = adjusted[sample.key]
        low, high = made.interval(one.level)
        base, head = _figures(sample)
        smallest = policy.of(sample.metric).matters(base)
        fell = head != base and (head < base) == sample.higher
        sure = (one.rejected and not low <= 0 <= high) or (fell and policy.of(sample.metric).deterministic)
        verdict: MetricVerdict = "no difference seen"
        if sure and round(abs(head - base), _DIGITS) >= round(smallest, _DIGITS):
            verdict = "worse" if fell else "improved"
        found.append(
            MetricJudgement(
                base=base,
                head=head,
                cases=_count(sample),
                verdict=verdict,
                low=_finite(low),
                high=_finite(high),
                level=one.level,
                p=p,
                p_adjusted=one.p,
                test=test,
                detectable=_finite(detectable(made.error, level=first, power=policy.power)),
                smallest=smallest,
                better=int((sample.gains > 0).sum()),
                worse=int((sample.gains < 0).sum()),
            )
        )
    return found


def _unjudged(sample: PairedSample, policy: ComparisonPolicy) -> MetricJudgement:
    if not len(sample.base):
        return MetricJudgement(None, None, _count(sample), "too few cases", smallest=policy.of(sample.metric).smallest)
    base, head = _figures(sample)
    return MetricJudgement(
        base,
        head,
        _count(sample),
        "too few cases",
        smallest=policy.of(sample.metric).matters(base),
        better=int((sample.gains > 0).sum()),
        worse=int((sample.gains < 0).sum()),
    )


def _figures(sample: PairedSample) -> tuple[float, float]:
    return float(aggregate_of(sample.base, sample.aggregate)), float(aggregate_of(sample.head, sample.aggregate))


def _count(sample: PairedSample) -> int:
    return len(sample.base) if sample.usable is None else sample.usable


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
