"""Terminal report of `sluice eval`: the verdict, a line for each deciding metric, the broken cases."""

from __future__ import annotations

from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.reports import phrasing

_CASES = 10


def in_the_terminal(comparison: Comparison) -> str:
    """A few lines, without colour; the reports have the rest."""
    lines = [phrasing.title(comparison), phrasing.sentence(comparison), *filter(None, [comparison.stopped]), ""]
    lines += [_line(metric) for metric in phrasing.ordered(comparison.deciding)]
    lines += ["", *(f"! {reason}" for reason in comparison.reasons)] if comparison.reasons else []
    lines += ["", *(f"~ not compared here: {name}" for name in comparison.left_out)] if comparison.left_out else []
    broken = [case for case in comparison.cases if case.status == "broken"]
    lines += ["", *(f"broken: {case.id}  {case.pair.case.question}" for case in broken[:_CASES])] if broken else []
    if len(broken) > _CASES:
        lines.append(f"broken: {len(broken) - _CASES} more are in the report")
    return "\n".join(lines)


def _line(metric: MetricComparison) -> str:
    judgement, unit = metric.judgement, metric.unit
    base, head = phrasing.figure(judgement.base, unit), phrasing.figure(judgement.head, unit)
    between = phrasing.interval(judgement, unit)
    mark = phrasing.MARKS[metric.verdict]
    return f"{mark} {metric.name:<22} {base:>9} -> {head:<9} {between:<28} {judgement.cases:>4} cases  {metric.verdict}"
