"""Compares base and head: the one place that says whether a candidate is worse.

engine/docs/reference/verdict.md explains the verdict; its numbers are in config/gates.yaml under `comparison:`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TypeAlias

import numpy as np

from sluice.core.errors import ValidationErrors
from sluice.core.removed import replacement
from sluice.core.settings import nearest
from sluice.evaluation.comparison_policy import ComparisonPolicy, Decides, LookPolicy
from sluice.evaluation.comparison_result import (
    Comparison,
    CostComparison,
    LabelComparison,
    MetricComparison,
    SliceComparison,
    changes_of,
)
from sluice.evaluation.paired_cases import ANSWERED, CONSISTENCY, CaseResult, Record, complete, gather, pair, some
from sluice.evaluation.registry import Metric, NamedMeasure
from sluice.evaluation.significance import MetricJudgement, PairedSample, judge

__all__ = ["BUILT_IN", "ComparableMetric", "Comparison", "compare"]

ComparableMetric: TypeAlias = Metric | NamedMeasure

# Computed from the trials and not from an answer: whether there was one, and whether repeating the question repeats it.
BUILT_IN: tuple[ComparableMetric, ...] = (NamedMeasure(ANSWERED), NamedMeasure(CONSISTENCY))


def compare(
    base: Sequence[Record],
    head: Sequence[Record],
    metrics: Sequence[ComparableMetric],
    policy: ComparisonPolicy,
    look: LookPolicy | None = None,
) -> Comparison:
    _check_names(metrics, policy)
    (old, faults), (new, more) = gather(base, "base"), gather(head, "head")
    pairs, differ = pair(old, new)
    pairs = complete(pairs, {measure.name for measure in metrics if measure.aggregate == "share"})
    both = [one.both for one in pairs if one.both]
    # A prompt that is not sampled is asked once, as it would only repeat itself: it is compared as fully consistent.
    repeated = any(len(case.trials) > 1 for one in both for case in one)
    built_in = [measure for measure in BUILT_IN if repeated or measure.name != CONSISTENCY]
    scored = [measure for measure in (*built_in, *metrics) if measure.direction is not None]
    found = _weighed(_compare_metrics(scored, both, policy, look))
    deciding = {metric.name for metric in found if metric.decides != "never"}
    # To cross one half means something where a metric is a share, but for agreement over trials.
    shares = [one for one in scored if one.name != CONSISTENCY and "share" in (one.unit, one.aggregate)]
    flipping = {measure.name: measure.direction == "higher" for measure in shares}
    worse = {metric.name for metric in found if metric.verdict == "worse"}
    cases = changes_of(pairs, flipping, deciding, worse & deciding)
    reasons = [*faults, *more, *differ, *_silences(old, new, found, policy)]
    costs = [(one.cost, other.cost) for one, other in both if one.cost is not None and other.cost is not None]
    cost = CostComparison(fmean(old for old, _ in costs), fmean(new for _, new in costs), len(costs)) if costs else None
    return Comparison(
        policy=policy,
        metrics=tuple(
            replace(
                metric,
                fixed=tuple(case.id for case in cases if metric.name in case.fixed),
                broken=tuple(case.id for case in cases if metric.name in case.broken),
            )
            for metric in found
        ),
        labels=tuple(_compare_labels(metrics, both)),
        slices=tuple(_compare_slices([m for m in scored if m.name in deciding], both, policy)),
        cases=tuple(cases),
        reasons=tuple(reasons or ([] if pairs else ["no case was asked"])),
        named={
            status: {"base": _with(old, status), "head": _with(new, status)} for status in ("failed", "not_evaluated")
        },
        errors=_errors(old, new),
        cost=cost,
        trials=max((len(case.trials) for case in new.values()), default=0),
        compared=len(both),
        identical=sum(one.answers == other.answers for one, other in both),
        asked=len(pairs),
        planned=len(pairs),
    )


def _weighed(found: list[MetricComparison]) -> list[MetricComparison]:
    """Make a metric that decides `when_worse` inform if it is better, or if another deciding metric improved."""
    better = {one.name for one in found if one.verdict == "improved" and one.decides != "never"}
    gained = any(one.decides != "when_worse" for one in found if one.name in better)
    return [
        replace(one, decides="never") if one.decides == "when_worse" and (gained or one.name in better) else one
        for one in found
    ]


def _check_names(metrics: Sequence[ComparableMetric], policy: ComparisonPolicy) -> None:
    known = [measure.name for measure in (*BUILT_IN, *metrics)]
    unknown = [name for name in policy.metrics if name not in known]
    if unknown:
        places = [f"comparison.metrics.{name}" for name in unknown]
        hints = [replacement(f"gates.yaml: {place}") for place in places]
        faults = [
            f"{place}: no such metric{hint or nearest(name, known)}"
            for name, place, hint in zip(unknown, places, hints, strict=True)
        ]
        remedy = "name metrics of engine/docs/reference/metrics.md, or of src/assistant/metrics/"
        raise ValidationErrors("config/gates.yaml", faults, remedy=remedy)


def _sample(
    measure: ComparableMetric, both: Sequence[tuple[CaseResult, CaseResult]], key: str, usable: int | None = None
) -> PairedSample:
    name = measure.name
    values = [(old.values[name], new.values[name]) for old, new in both if name in old.values and name in new.values]
    columns = np.array(values, dtype=np.float64).reshape(-1, 2)
    return PairedSample(
        key=key,
        metric=name,
        higher=measure.direction == "higher",
        aggregate=measure.aggregate if measure.aggregate in ("p50", "p95") else "mean",  # type: ignore[arg-type]
        share=measure.unit == "share" or measure.aggregate == "share",
        base=columns[:, 0],
        head=columns[:, 1],
        usable=usable,
    )


def _compare_metrics(
    measures: Sequence[ComparableMetric],
    both: Sequence[tuple[CaseResult, CaseResult]],
    policy: ComparisonPolicy,
    look: LookPolicy | None,
) -> list[MetricComparison]:
    """Judge what decides, informs and is timed as three families, so that one costs another no power."""
    entries: list[tuple[ComparableMetric, PairedSample, Decides, str]] = []
    for measure in measures:
        sample, decides, note = _sample(measure, both, measure.name), policy.of(measure.name).decides, ""
        timed = [(old, new) for old, new in both if not old.recorded and not new.recorded]
        if measure.unit == "ms" and len(timed) < len(both):
            enough = len(timed) >= policy.least(measure.name)
            sample = _sample(measure, timed if enough else both, measure.name, usable=len(timed))
            decides = "never"
            note = f"times of {len(both) - len(timed)} cases were recorded in another run; informs only"
        if not len(sample.base) and decides != "always":
            continue  # not requested
        if measure.name == ANSWERED and sample.base.all() and sample.head.all():
            continue
        entries.append((measure, sample, decides, note))
    families: dict[str, list[PairedSample]] = {}
    for measure, sample, decides, _ in entries:
        family = "decides" if decides != "never" else "time" if measure.unit == "ms" else "informs"
        families.setdefault(family, []).append(sample)
    judged: dict[str, MetricJudgement] = {}
    for samples in families.values():
        judged |= {sample.key: one for sample, one in zip(samples, judge(samples, policy, look=look), strict=True)}
    return [
        MetricComparison(
            name=measure.name,
            unit=measure.unit,
            direction=measure.direction or "",
            aggregate=measure.aggregate,
            decides=decides,
            judgement=judged[sample.key],
            errors=tuple(new.id for old, new in both if measure.name in {*old.crashed, *new.crashed}),
            note=note or _remark(judged[sample.key], policy),
        )
        for measure, sample, decides, note in entries
    ]


def _remark(judgement: MetricJudgement, policy: ComparisonPolicy) -> str:
    if judgement.verdict != "no difference seen" or judgement.p_adjusted is None or not judgement.difference:
        return ""
    if judgement.p_adjusted <= 1 - policy.confidence and abs(judgement.difference) < judgement.smallest:
        return f"smaller than what matters ({judgement.smallest:.3g})"
    return ""


def _compare_labels(
    metrics: Sequence[ComparableMetric], both: Sequence[tuple[CaseResult, CaseResult]]
) -> list[LabelComparison]:
    found = []
    for name in [measure.name for measure in metrics if measure.direction is None]:
        words = [(old, new) for old, new in both if name in old.labels and name in new.labels]
        moved: dict[tuple[str, str], list[str]] = {}
        for old, new in words:
            if old.labels[name] != new.labels[name]:
                moved.setdefault((old.labels[name], new.labels[name]), []).append(old.id)
        order = sorted(moved.items(), key=lambda item: (-len(item[1]), item[0]))
        if words:
            found.append(LabelComparison(name, len(words), tuple((*move, tuple(ids)) for move, ids in order)))
    return found


def _compare_slices(
    measures: Sequence[ComparableMetric], both: Sequence[tuple[CaseResult, CaseResult]], policy: ComparisonPolicy
) -> list[SliceComparison]:
    counts = Counter(tag for _, new in both for tag in set(new.tags))
    large = [tag for tag, cases in counts.items() if policy.slices.minimum_cases <= cases < len(both)]
    tags = sorted(large, key=lambda tag: (-counts[tag], tag))[: policy.slices.at_most]
    samples: list[tuple[str, PairedSample]] = []
    for tag in tags:
        tagged = [one for one in both if tag in one[1].tags]
        samples += [(tag, _sample(measure, tagged, f"{tag}/{measure.name}")) for measure in measures]
    samples = [(tag, sample) for tag, sample in samples if len(sample.base) >= policy.slices.minimum_cases]
    judged = judge([sample for _, sample in samples], policy, policy.slices.minimum_cases)
    found = [SliceComparison(tag, sample.metric, one) for (tag, sample), one in zip(samples, judged, strict=True)]
    sign = {measure.name: 1 if measure.direction == "higher" else -1 for measure in measures}
    # Of each metric the worst first.
    return sorted(found, key=lambda one: (one.metric, sign[one.metric] * (one.judgement.head or 0.0)))


def _silences(
    base: Mapping[str, CaseResult],
    head: Mapping[str, CaseResult],
    metrics: Sequence[MetricComparison],
    policy: ComparisonPolicy,
) -> list[str]:
    """Name what would otherwise pass without having been judged."""
    found = []
    for side, cases in (("base", base), ("head", head)):
        if missing := _with(cases, "not_evaluated"):
            found.append(f"{len(missing)} not evaluated in {side}: {some(missing)}")
        # A case that fails in the base only is one that the head fixes.
        if side == "head" and (failed := _with(cases, "failed")):
            found.append(f"{len(failed)} failed in {side}: {some(failed)}")
        crashed: dict[str, list[str]] = {}
        for case in cases.values():
            for name in case.crashed:
                crashed.setdefault(name, []).append(case.id)
        found += [f"{name} crashed on {len(ids)} of {side}: {some(ids)}" for name, ids in sorted(crashed.items())]
    for metric in metrics:
        sides = [sum(metric.name in case.values for case in cases.values()) for cases in (base, head)]
        if metric.decides != "never" and min(sides) == 0 and max(sides) >= policy.least(metric.name):
            found.append(f"{metric.name} was measured in {'base' if sides[0] else 'head'} only")
    return found


def _with(cases: Mapping[str, CaseResult], status: str) -> tuple[str, ...]:
    return tuple(case.id for case in cases.values() if case.status == status)


def _errors(base: Mapping[str, CaseResult], head: Mapping[str, CaseResult]) -> dict[str, str]:
    found: dict[str, str] = {}
    for case in (*head.values(), *base.values()):
        for name, text in case.errors.items():
            found.setdefault(name, text)
    return dict(sorted(found.items()))
