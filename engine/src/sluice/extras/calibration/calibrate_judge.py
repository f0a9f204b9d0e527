"""Compares a judge with human verdicts on the same answers, of cases/judge.jsonl or a file in the same format."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.evaluation.registry import Output
from sluice.evaluation.runner import run_metrics
from sluice.evaluation.statistics import wilson
from sluice.extras.calibration.metrics import Judge
from sluice.extras.calibration.release_judge import open_judge
from sluice.extras.prompt_tests.prompt_cases import LabelledCase, read_cases
from sluice.serving.release_parts import ReleaseBundle


@dataclass(frozen=True)
class Agreement:
    """Counts of cases by both verdicts; `failed_passed` means that people failed it and the judge passed it."""

    passed_passed: int
    passed_failed: int
    failed_passed: int
    failed_failed: int

    @property
    def cases(self) -> int:
        return self.passed_passed + self.passed_failed + self.failed_passed + self.failed_failed

    @property
    def raw(self) -> float | None:
        return (self.passed_passed + self.failed_failed) / self.cases if self.cases else None

    @property
    def by_chance(self) -> float | None:
        """Return the agreement expected if each only kept its own share of passes."""
        if not self.cases:
            return None
        people = (self.passed_passed + self.passed_failed) / self.cases
        judge = (self.passed_passed + self.failed_passed) / self.cases
        return people * judge + (1 - people) * (1 - judge)

    @property
    def kappa(self) -> float | None:
        """(raw - by chance) / (1 - by chance) (Cohen, 1960); None if both always say the same word."""
        return self._above_chance(self.raw)

    @property
    def kappa_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval (1927) of the raw agreement, with chance held as in Cohen (1960)."""
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
    pairs = list(zip(people, judge, strict=True))
    return Agreement(
        passed_passed=pairs.count((True, True)),
        passed_failed=pairs.count((True, False)),
        failed_passed=pairs.count((False, True)),
        failed_failed=pairs.count((False, False)),
    )


CASES = Path(__file__).parent / "cases" / "judge.jsonl"


class CalibrationCase(LabelledCase):
    """An answer with people's verdict. Without `expected`, declining is right; `kind` says what is hard."""

    question: str
    expected: tuple[str, ...]
    passages: tuple[str, ...]
    answer: str
    passed: bool
    kind: str = ""


@dataclass(frozen=True)
class Disagreement:
    """A case in which the judge disagrees with people; `passed` and `reason` are the judge's."""

    case: CalibrationCase
    passed: bool
    reason: str


@dataclass(frozen=True)
class CalibrationResult:
    """`errors`: why the judge gave no verdict, by case."""

    agreement: Agreement
    disagreements: tuple[Disagreement, ...]
    errors: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        counts = self.agreement
        return {
            "cases": counts.cases + len(self.errors),
            "decided": counts.cases,
            "agreement": counts.raw,
            "kappa": counts.kappa,
            "kappa_interval_95": counts.kappa_interval,
            "people_passed_judge_passed": counts.passed_passed,
            "people_passed_judge_failed": counts.passed_failed,
            "people_failed_judge_passed": counts.failed_passed,
            "people_failed_judge_failed": counts.failed_failed,
            "disagreements": [
                {"id": one.case.id, "kind": one.case.kind, "judge_passed": one.passed, "reason": one.reason}
                for one in self.disagreements
            ],
            "errors": self.errors,
        }


def load_calibration(path: Path) -> list[CalibrationCase]:
    remedy = "engine/src/sluice/extras/calibration/cases/judge.jsonl shows the form"
    return [case for _, case in read_cases(path, CalibrationCase, remedy=remedy)]


def calibrate_bundle(bundle: ReleaseBundle, cases: Sequence[CalibrationCase]) -> CalibrationResult:
    with ExitStack() as opened:
        judge = open_judge(bundle, opened)
        if judge is None:
            raise SluiceError(
                "config/providers.yaml: no provider in the role judge",
                remedy="list a provider under `judge`; engine/docs/reference/providers.md lists the keys of an entry",
            )
        return calibrate(judge, cases)


def calibrate(judge: Judge, cases: Sequence[CalibrationCase]) -> CalibrationResult:
    async def ask_all() -> list[dict[str, Any]]:
        asked = [
            (
                Row(id=case.id, question=case.question, answers=case.expected, doc_ids=()),
                Output(case.answer, passages=case.passages),
            )
            for case in cases
        ]
        return await asyncio.gather(*(run_metrics(row, output, [judge]) for row, output in asked))

    errors: dict[str, str] = {}
    decided: list[tuple[CalibrationCase, dict[str, Any]]] = []
    for case, found in zip(cases, asyncio.run(ask_all()), strict=True):
        if fault := found["errors"].get(judge.name):
            errors[case.id] = fault
        else:
            decided.append((case, found["assertions"][judge.name]))
    return CalibrationResult(
        agreement([case.passed for case, _ in decided], [verdict["passed"] for _, verdict in decided]),
        tuple(Disagreement(case, **verdict) for case, verdict in decided if verdict["passed"] != case.passed),
        errors,
    )
