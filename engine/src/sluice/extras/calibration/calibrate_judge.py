"""Compares a judge with human verdicts on the same answers, of cases/judge.jsonl or a file in the same format."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import ExitStack
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


def agreement(people: Sequence[bool], judge: Sequence[bool]) -> dict[str, Any]:
    """Return counts of cases by both verdicts, their agreement, and Cohen's kappa (1960) with an interval.

    kappa is (agreement - by chance) / (1 - by chance), None if both always say the same word. The interval is Wilson's
    at 95 % (1927) of the agreement, with chance held as in Cohen (1960).
    """
    pairs = list(zip(people, judge, strict=True))
    raw: float | None = None
    kappa: float | None = None
    interval: list[float] | None = None
    if pairs:
        raw = sum(one == other for one, other in pairs) / len(pairs)
        passed, judge_passed = sum(people) / len(pairs), sum(judge) / len(pairs)
        chance = passed * judge_passed + (1 - passed) * (1 - judge_passed)  # if each only kept its share of passes
        if not math.isclose(chance, 1):
            low, high = wilson(raw, len(pairs))
            kappa, *interval = ((share - chance) / (1 - chance) for share in (raw, low, high))
    words = {True: "passed", False: "failed"}
    counts = {
        f"people_{words[one]}_judge_{words[other]}": pairs.count((one, other)) for one in words for other in words
    }
    return {"decided": len(pairs), "agreement": raw, "kappa": kappa, "kappa_interval_95": interval, **counts}


CASES = Path(__file__).parent / "cases" / "judge.jsonl"


class CalibrationCase(LabelledCase):
    """An answer with people's verdict. Without `expected`, declining is right; `kind` says what is hard."""

    question: str
    expected: tuple[str, ...]
    passages: tuple[str, ...]
    answer: str
    passed: bool
    kind: str = ""


def load_calibration(path: Path) -> list[CalibrationCase]:
    remedy = "engine/src/sluice/extras/calibration/cases/judge.jsonl shows the form"
    return [case for _, case in read_cases(path, CalibrationCase, remedy=remedy)]


def calibrate_bundle(bundle: ReleaseBundle, cases: Sequence[CalibrationCase]) -> dict[str, Any]:
    with ExitStack() as opened:
        judge = open_judge(bundle, opened)
        if judge is None:
            raise SluiceError(
                "config/providers.yaml: no provider in the role judge",
                remedy="list a provider under `judge`; engine/docs/reference/providers.md lists the keys of an entry",
            )
        return calibrate(judge, cases)


def calibrate(judge: Judge, cases: Sequence[CalibrationCase]) -> dict[str, Any]:
    """Return the figures of `agreement`, the cases that differ, and why the judge gave no verdict, by case."""

    async def ask(case: CalibrationCase) -> dict[str, Any]:
        row = Row(id=case.id, question=case.question, answers=case.expected, doc_ids=())
        return await run_metrics(row, Output(case.answer, passages=case.passages), [judge])

    async def ask_all() -> list[dict[str, Any]]:
        return await asyncio.gather(*map(ask, cases))

    errors: dict[str, str] = {}
    decided: list[tuple[CalibrationCase, dict[str, Any]]] = []
    for case, found in zip(cases, asyncio.run(ask_all()), strict=True):
        if fault := found["errors"].get(judge.name):
            errors[case.id] = fault
        else:
            decided.append((case, found["assertions"][judge.name]))
    found = agreement([case.passed for case, _ in decided], [verdict["passed"] for _, verdict in decided])
    differing = [
        {"id": case.id, "kind": case.kind, "judge_passed": verdict["passed"], "reason": verdict["reason"]}
        for case, verdict in decided
        if verdict["passed"] != case.passed
    ]
    return {"cases": len(cases), **found, "disagreements": differing, "errors": errors}
