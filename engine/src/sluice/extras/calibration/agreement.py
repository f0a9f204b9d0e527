"""Agreement between two raters on pass or fail: raw agreement, Cohen's kappa, and the confusion counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.evaluation.statistics import wilson


@dataclass(frozen=True)
class Agreement:
    """Counts of cases by what people and the judge said; `failed_passed`: people failed it, the judge passed it."""

    passed_passed: int
    passed_failed: int
    failed_passed: int
    failed_failed: int

    @property
    def cases(self) -> int:
        return self.passed_passed + self.passed_failed + self.failed_passed + self.failed_failed

    @property
    def raw(self) -> float | None:
        """Share of cases in which both say the same; None without cases."""
        return (self.passed_passed + self.failed_failed) / self.cases if self.cases else None

    @property
    def by_chance(self) -> float | None:
        """Share in which they would say the same if each only kept its own share of passes."""
        if not self.cases:
            return None
        people = (self.passed_passed + self.passed_failed) / self.cases
        judge = (self.passed_passed + self.failed_passed) / self.cases
        return people * judge + (1 - people) * (1 - judge)

    @property
    def kappa(self) -> float | None:
        """(raw - by chance) / (1 - by chance) (Cohen, 1960): 1 is full agreement, 0 what chance gives.

        None when both always say the same word: then nothing tells agreement from chance."""
        return self._above_chance(self.raw)

    @property
    def kappa_interval(self) -> tuple[float, float] | None:
        """95 %: Wilson's interval (1927) of the raw agreement, with the agreement by chance held as in Cohen (1960)."""
        if self.raw is None:
            return None
        low, high = (self._above_chance(bound) for bound in wilson(self.raw, self.cases))
        return None if low is None or high is None else (low, high)

    def _above_chance(self, raw: float | None) -> float | None:
        chance = self.by_chance
        if raw is None or chance is None or math.isclose(chance, 1):
            return None
        return (raw - chance) / (1 - chance)


def agreement(people: Sequence[bool], judge: Sequence[bool]) -> Agreement:
    """Counts the pairs; both have one entry a case, in the same order."""
    pairs = list(zip(people, judge, strict=True))
    return Agreement(
        passed_passed=pairs.count((True, True)),
        passed_failed=pairs.count((True, False)),
        failed_passed=pairs.count((False, True)),
        failed_failed=pairs.count((False, False)),
    )
