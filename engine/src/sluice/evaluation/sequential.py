"""Stops a comparison as soon as its verdict is decided.

The design is group-sequential (Wassmer and Brannath, Group Sequential and Confirmatory Adaptive Designs in Clinical
Trials, 2016): the policy plans a few looks, and each may spend a part of the error 1 - confidence. The parts add up to
1, so by Bonferroni's inequality all looks together raise a false alarm no more often than one look at everything would,
whatever the tests and however they depend on each other. The bounds of Pocock (Biometrika 64, 1977) and of Lan and
DeMets (Biometrika 70, 1983) are less strict, but assume normal increments, which a few flips of pass and fail are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

from sluice.data.rows import Row
from sluice.evaluation.asked_rows import require_rows
from sluice.evaluation.comparison import ComparableMetric, compare
from sluice.evaluation.comparison_policy import ComparisonPolicy, LookPolicy
from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.paired_cases import Record, some


class SequentialComparison:
    """A comparison in planned looks at `cases` cases, asked in the order of `asking_order`."""

    def __init__(self, metrics: Sequence[ComparableMetric], policy: ComparisonPolicy, cases: int) -> None:
        self._metrics, self._policy, self._cases = metrics, policy, cases
        deciding = {name: one for name, one in policy.metrics.items() if one.decides != "never"}
        self._deciding = [metric for metric in metrics if metric.name in deciding]
        slices = policy.slices.model_copy(update={"at_most": 0})
        self._brief = policy.model_copy(update={"metrics": deciding, "slices": slices})  # without what only informs
        sizes = {math.ceil(round(look.share * cases, 6)): look for look in policy.looks}
        # Before so many cases no metric is judged: the look would only cost time.
        self._planned = {
            asked: look for asked, look in sizes.items() if asked == cases or asked >= policy.minimum_cases
        }

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of cases after which to look; the last one is all."""
        return tuple(self._planned)

    def look(self, base: Sequence[Record], head: Sequence[Record]) -> Comparison | None:
        asked = len({str(record["id"]) for record in head})
        if asked not in self._planned:
            raise ValueError(f"{asked} cases are no planned look; planned are {self.looks}")
        look = LookPolicy(share=asked / self._cases, alpha=self._planned[asked].alpha)
        stopped = ""
        if asked < self._cases:
            why = self._decided(compare(base, head, self._deciding, self._brief, look), look)
            if not why:
                return None
            stopped = f"Stopped after {asked} of {self._cases} cases: {why}."
        found = compare(base, head, self._metrics, self._policy, look)
        return replace(found, planned=self._cases, stopped=stopped)

    def ask_until_decided(
        self,
        rows: Sequence[Row],
        ask: Callable[[Sequence[Row]], tuple[list[Any], list[Any]]],
        *,
        enough: Callable[[list[Any]], bool] = lambda _: True,
        at_once: bool = False,
    ) -> tuple[Comparison, list[Any], list[Any]]:
        require_rows(rows)
        base: list[Any] = []
        head: list[Any] = []
        done = 0
        for look in self.looks:
            if done < look:
                start, done = done, len(rows) if at_once else look
                for side, more in zip((base, head), ask(rows[start:done]), strict=True):
                    side += more
            ids = {row.id for row in rows[:look]}
            old, new = ([record for record in side if record["id"] in ids] for side in (base, head))
            if (found := self.look(old, new)) and (look == len(rows) or enough(new)):
                return found, old, new
        raise AssertionError("the last look has a verdict")

    def _decided(self, found: Comparison, look: LookPolicy) -> str:
        """Say why the cases so far decide; empty when they do not."""
        names = some(metric.name for metric in found.deciding if metric.verdict == found.verdict)
        if found.verdict == "worse":
            # Something else may still improve, and then what decides `when_worse` informs.
            firm = any(one.verdict == "worse" and one.decides != "when_worse" for one in found.deciding)
            return f"worse is decided ({names})" if firm else ""
        if found.passed and all(self._excludes_a_fall(metric, look) for metric in found.deciding):
            if found.verdict == "improved":
                return f"improved is decided ({names}), and no deciding metric can be worse by its detectable size"
            both = [one for one in found.deciding if one.decides != "when_worse"]  # that can rise as well as fall
            if all(self._excludes(abs(one.judgement.difference or 0.0), one, look) for one in both):
                return "no deciding metric can differ by its detectable size"
        return ""

    def _excludes_a_fall(self, metric: MetricComparison, look: LookPolicy) -> bool:
        judgement = metric.judgement
        if metric.verdict == "too few cases":  # with all cases it may have enough
            return judgement.cases / look.share < self._policy.least(metric.name)
        if self._policy.of(metric.name).deterministic and judgement.better + judgement.worse:
            return False  # all cases show the exact fall
        fall = (judgement.difference or 0.0) * (-1 if metric.direction == "higher" else 1)
        return metric.verdict == "improved" or self._excludes(fall, metric, look)

    def _excludes(self, difference: float, metric: MetricComparison, look: LookPolicy) -> bool:
        """Tell whether the interval around a difference excludes one of the detectable size that matters.

        A look may spend of the risk of missing a difference (1 - power) the same part as of alpha. It is non-binding:
        asking more cases afterwards raises no more false alarms.
        """
        judgement = metric.judgement
        if metric.verdict == "too few cases":
            return True
        if judgement.standard_error is None or judgement.detectable is None:
            return False
        reach = NormalDist().inv_cdf(1 - (1 - self._policy.power) * look.alpha) * judgement.standard_error
        return difference + reach <= max(judgement.detectable, judgement.smallest)
