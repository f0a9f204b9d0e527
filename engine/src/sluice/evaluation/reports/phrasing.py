"""Sentences and figures shared by all reports: improvements, regressions, confidence, cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.paired_cases import some
from sluice.evaluation.reports.compared_version import ComparedVersion
from sluice.evaluation.significance import MetricJudgement

MARKS = {"improved": "✓", "worse": "✕", "no difference seen": "=", "too few cases": "?", "not evaluated": "!"}
_AT_MOST = 4


def title(comparison: Comparison) -> str:
    """Return the verdict and the metrics that caused it."""
    named = [metric.name for metric in comparison.deciding if metric.verdict == comparison.verdict]
    words = comparison.verdict.capitalize()
    return f"{words}: {some(named, _AT_MOST)}" if named and comparison.verdict in ("worse", "improved") else words


def sentence(comparison: Comparison) -> str:
    """Return the one-line summary."""
    parts = [*_moved(comparison, "worse", "Worse"), *_moved(comparison, "improved", "Improved")]
    if not parts:
        parts = ["No deciding metric differs"]
    counts, trials = comparison.status_counts, comparison.trials
    asked = f"{comparison.compared} cases" + (f", each asked {trials} times" if trials > 1 else "")
    parts.append(f"{counts.get('broken', 0)} broken and {counts.get('fixed', 0)} fixed of {asked}")
    if few := [metric.name for metric in comparison.deciding if metric.verdict == "too few cases"]:
        parts.append(f"too few cases for {some(few, _AT_MOST)}")
    # How sure: for all metrics that decide together, not for each.
    level = f"{comparison.policy.confidence * 100:.4g} %"
    parts.append(f"{level} confidence across all {len(comparison.deciding)} deciding metrics")
    return "; ".join([*parts, _costs(comparison)]) + "."


def _costs(comparison: Comparison) -> str:
    if comparison.cost is None:
        return "cost unknown"
    base, head = comparison.cost.base * 1000, comparison.cost.head * 1000
    return f"{figure(head, 'USD')} per 1,000 questions ({signed(head - base, 'USD')})"


def time_and_spending(comparison: Comparison, base: ComparedVersion, head: ComparedVersion) -> str:
    """Return the time per answer and the cost of both runs."""
    times = [(one.name, one.judgement) for one in comparison.metrics if one.unit == "ms"]
    took = [f"{name} {figure(found.base, 'ms')} → {figure(found.head, 'ms')}" for name, found in times]
    spent = None if base.cost is None or head.cost is None else base.cost + head.cost
    asked = "cost of both runs unknown" if spent is None else f"both runs cost {figure(spent, 'USD')}"
    return "; ".join([*took, asked]) + "."


def figure(value: float | None, unit: str) -> str:
    """A value in words."""
    if value is None:
        return "–"
    if unit == "USD":  # at least cents; small amounts with two digits that count
        return f"${value:,.2f}" if value == 0 or abs(value) >= 0.1 else f"${value:.2g}"
    if unit == "share":
        return f"{value:.3f}"
    shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{shown} {unit}" if unit == "ms" else shown


def signed(value: float | None, unit: str) -> str:
    """A difference in words."""
    if value is None:
        return "–"
    shown = figure(abs(value), unit)
    return ("−" if value < 0 else "+" if value > 0 else "±") + shown


def interval(judgement: MetricJudgement, unit: str) -> str:
    """The interval of a difference in words."""
    if judgement.low is None or judgement.high is None:
        return "–"
    return f"{signed(judgement.low, unit)} to {signed(judgement.high, unit)}"


def bar(judgement: MetricJudgement) -> dict[str, float] | None:
    """The interval on a line with 0 in its middle: left, width, point, what matters, each in per cent of the line."""
    if judgement.low is None or judgement.high is None or judgement.difference is None:
        return None
    edge = max(abs(judgement.low), abs(judgement.high), judgement.smallest) or 1.0
    low, high, point = (50 + 48 * value / edge for value in (judgement.low, judgement.high, judgement.difference))
    matters = 48 * judgement.smallest / edge
    return {"low": low, "width": max(high - low, 0.8), "point": point, "matters": matters}


def drawn(judgement: MetricJudgement) -> str:
    """The same line in 21 signs, for Markdown: GitHub shows no picture that is not public."""
    if (found := bar(judgement)) is None:
        return ""
    signs = list("··········│··········")
    first, last, point = (round(at / 5) for at in (found["low"], found["low"] + found["width"], found["point"]))
    signs[first : last + 1] = "━" * (last + 1 - first)
    signs[10] = "┿" if signs[10] == "━" else signs[10]
    signs[point] = "●"
    return "".join(signs)


def ordered(metrics: Iterable[MetricComparison]) -> list[MetricComparison]:
    """Worse first, then improved, too few, no difference."""
    order: Sequence[str] = ("worse", "improved", "too few cases", "no difference seen")
    return sorted(metrics, key=lambda metric: order.index(metric.verdict))


def _moved(comparison: Comparison, verdict: str, word: str) -> list[str]:
    shown = [
        f"{one.name} {figure(one.judgement.base, one.unit)} → {figure(one.judgement.head, one.unit)}"
        for one in comparison.deciding
        if one.verdict == verdict
    ]
    return [f"{word}: {some(shown, _AT_MOST)}"] if shown else []
