"""Gate verdicts from a comparison of answers: one for each deciding metric, and one for each part that was not judged.

The release keeps them in release.json, and the canary's quality stage in its report.
"""

from __future__ import annotations

from typing import Any, Literal

from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.reports import phrasing
from sluice.release.verdict import Verdict

Asking = Literal["comparison", "quality"]
_AGAINST: dict[Asking, str] = {"comparison": "champion", "quality": "stable"}
_CASES = 10


def verdicts_of(found: Comparison, asking: Asking) -> list[Verdict]:
    """All of them passed exactly when the comparison did."""
    verdicts = [Verdict.unjudged(asking, f"{asking}: {reason}") for reason in found.reasons]
    # Where something was not evaluated, too few cases are only what follows from it.
    judged = [one for one in found.deciding if not found.reasons or one.verdict != "too few cases"]
    verdicts += [_of_metric(metric, found, asking) for metric in judged]
    if not found.passed and all(verdict.passed for verdict in verdicts):
        verdicts.append(Verdict.unjudged(asking, f"{asking}: {found.verdict}"))
    return verdicts


def quality_report(found: Comparison) -> dict[str, Any]:
    """The file that the Job of the quality stage writes: verdicts, figures of the metrics that decide for `canary` and
    `stable`, and the whole comparison."""
    deciding = {metric.name: metric.judgement for metric in found.deciding}
    return {
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts_of(found, "quality")],
        "figures": {
            "canary": {name: one.head for name, one in deciding.items()},
            "stable": {name: one.base for name, one in deciding.items()},
        },
        "comparison": found.as_dict(),
    }


def _of_metric(metric: MetricComparison, found: Comparison, asking: Asking) -> Verdict:
    one, unit, gate = metric.judgement, metric.unit, f"{asking}_{metric.name}"
    few = metric.verdict == "too few cases"
    shown = f"{metric.name} is {phrasing.figure(one.head, unit)} against {phrasing.figure(one.base, unit)}"
    shown += f" of {_AGAINST[asking]}"
    moved = "" if few else f", {phrasing.signed(one.difference, unit)}, {phrasing.interval(one, unit)}"
    certain = found.policy.of(metric.name).deterministic
    sureness = "" if certain else f" at confidence {found.policy.confidence:g}"
    limit = f"limit: not worse by {phrasing.figure(one.smallest, unit)} or more{sureness}"
    what = f"too few cases ({one.cases}); " if few else ""
    return Verdict(
        gate=gate,
        metric=metric.name,
        passed=metric.verdict != "worse" and not (few and metric.decides == "always"),
        figure=None if few else one.head,
        limit=one.smallest,
        reference=one.base,
        samples=one.cases,
        reason=f"gate {gate}: {what}{shown}{moved} over {one.cases} cases; {limit}",
        cases=metric.broken[:_CASES],
    )
