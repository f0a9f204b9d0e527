"""A comparison of answers as verdicts: one for each metric that decides, and one for each thing that was not judged."""

from __future__ import annotations

from typing import Any

from sluice.evaluation.findings import Comparison, MetricComparison
from sluice.evaluation.reports import words
from sluice.release.gates import Verdict

_CASES = 10


def verdicts_of(found: Comparison) -> list[Verdict]:
    """All of them passed exactly when the comparison did."""
    verdicts = [_unjudged(f"quality: {reason}") for reason in found.reasons]
    # Where something was not evaluated, too few cases are only what follows from it.
    judged = [one for one in found.deciding if not found.reasons or one.verdict != "too few cases"]
    verdicts += [_of_metric(metric, found.policy.confidence) for metric in judged]
    if not found.passed and all(verdict.passed for verdict in verdicts):
        verdicts.append(_unjudged(f"quality: {found.verdict}"))
    return verdicts


def figures_of(found: Comparison) -> dict[str, dict[str, float | None]]:
    """Of the metrics that decide, for `canary` and `stable`."""
    deciding = {metric.name: metric.judgement for metric in found.deciding}
    return {
        "canary": {name: one.head for name, one in deciding.items()},
        "stable": {name: one.base for name, one in deciding.items()},
    }


def report_of(found: Comparison) -> dict[str, Any]:
    """The file that the Job writes."""
    return {
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts_of(found)],
        "figures": figures_of(found),
        "comparison": found.as_dict(),
    }


def _of_metric(metric: MetricComparison, confidence: float) -> Verdict:
    one, unit = metric.judgement, metric.unit
    few = metric.verdict == "too few cases"
    shown = f"{metric.name} is {words.figure(one.head, unit)} against {words.figure(one.base, unit)} of stable"
    moved = "" if few else f", {words.signed(one.difference, unit)}, {words.interval(one, unit)}"
    limit = f"limit: not worse by {words.figure(one.smallest, unit)} or more at confidence {confidence:g}"
    what = f"too few cases ({one.cases}); " if few else ""
    return Verdict(
        gate=f"quality_{metric.name}",
        metric=metric.name,
        passed=metric.verdict != "worse" and not (few and metric.decides == "always"),
        figure=None if few else one.head,
        limit=one.smallest,
        reference=one.base,
        samples=one.cases,
        reason=f"gate quality_{metric.name}: {what}{shown}{moved} over {one.cases} cases; {limit}",
        cases=metric.broken[:_CASES],
    )


def _unjudged(reason: str) -> Verdict:
    return Verdict(
        gate="quality",
        metric="",
        passed=False,
        figure=None,
        limit=None,
        reference=None,
        samples=0,
        reason=reason,
    )
