"""Whether visitors like the canary's answers less than stable's: a sequential test of two shares.

A group of visitors meets the canary, all others stable, each of them always the same release. After a number of looks
that is fixed beforehand the test is over; it stops at the first one at which the canary is surely worse. Each look has
its part of the error that all together may make, so looking early costs nothing in honesty
(engine/docs/decisions/ab-test.md). In a cluster Prometheus computes the same figure:
engine/k8s/analysis/ab-preference.yaml.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from sluice.core.atomic_files import read_jsonl
from sluice.core.settings import read_yaml
from sluice.rehearsal.analysis_runs import AnalysisContext, AnalysisResult, JobFiles, OwnAnalysis
from sluice.rehearsal.visitors import VisitorTraffic
from sluice.release.gates import Gate, Measurement, decide, load_gates
from sluice.release.verdict import reason_of
from sluice.rollout.analysis_templates import parse_duration
from sluice.rollout.load_test.stage import longest


@dataclass(frozen=True)
class Answers:
    """`good` of `count` answers."""

    good: int
    count: int


Sides = dict[str, Answers]
Figures = dict[str, dict[str, float | None]]


def upper_end(canary: Answers, stable: Answers, quantile: float) -> float:
    """The upper end of the interval of the difference between two shares, canary less stable.

    Agresti and Caffo's: the normal interval after one good and one bad answer more on each side, which holds its level
    where shares are near 1 and samples are few."""
    (a, n), (b, m) = ((one.good + 1, one.count + 2) for one in (canary, stable))
    return a / n - b / m + quantile * math.sqrt(a * (n - a) / n**3 + b * (m - b) / m**3)


@dataclass(frozen=True)
class PreferenceAnalysis(OwnAnalysis):
    """`looks` at what visitors got, the last one after `seconds`. `quantile`: of the normal distribution, at the level
    that each look has."""

    TEMPLATE: ClassVar[str] = "ab-preference"

    looks: int = 0
    quantile: float = 0.0

    def run(self, scene: AnalysisContext, files: JobFiles, watch: Callable[[], None]) -> AnalysisResult:
        """In a rehearsal nobody scores an answer: a whole one is good, all others are bad.

        As a load stage a look takes longer while the machine is too slow for the answers it needs."""
        began, found = time.monotonic(), AnalysisResult("no look was taken", (), {})
        metric = self.TEMPLATE.replace("-", "_")
        gates = [gate for gate in load_gates(files.gates) if gate.name == metric]
        needed = max((gate.min_samples for gate in gates), default=0)
        with ExitStack() as started:
            visitors = [started.enter_context(one) for one in self._visitors(scene, files)]
            for look in range(1, self.looks + 1):
                due = self.seconds * look / self.looks
                while (passed := time.monotonic() - began) < longest(due):
                    watch()
                    if passed >= due and all(one.count >= needed for one in self._answers(scene, visitors)[0].values()):
                        break
                    time.sleep(0.5)
                found = self._judge(gates, metric, *self._answers(scene, visitors))
                if found.reason:
                    found = replace(found, reason=f"look {look} of {self.looks}: {found.reason}")
                    break
        return replace(found, visits=[visit for one in visitors for visit in one.visits])

    def _visitors(self, scene: AnalysisContext, files: JobFiles) -> list[VisitorTraffic]:
        """All with all keys, each beginning with another one: every key asks as often as any other."""
        keys, questions = [*scene.visitors.keys], [str(row["question"]) for row in read_jsonl(files.questions)]
        begins = [at * len(keys) // self.users for at in range(self.users)]
        url, timeout = scene.router.url, self.answer_timeout_s
        return [VisitorTraffic(url, questions, timeout=timeout, keys=keys[at:] + keys[:at]) for at in begins]

    def _answers(self, scene: AnalysisContext, visitors: Sequence[VisitorTraffic]) -> tuple[Sides, Figures]:
        served, answers, figures = scene.router.served_by(), Sides(), Figures()
        visits = [visit for one in visitors for visit in one.visits]
        for side in ("canary", "stable"):
            own = [visit for visit in visits if served.get(visit.request_id) == side]
            answers[side] = Answers(sum(not one.error for one in own), len(own))
            figures[side] = {"visitors": len({one.key for one in own}), "answers": len(own), "good": answers[side].good}
        return answers, figures

    def _judge(self, gates: Sequence[Gate], metric: str, answers: Sides, figures: Figures) -> AnalysisResult:
        canary, stable = answers["canary"], answers["stable"]
        share = stable.good / max(stable.count, 1)
        at_best = share + upper_end(canary, stable, self.quantile)
        measured, reference = Measurement(at_best, canary.count), Measurement(share, stable.count)
        verdicts = decide(gates, "analysis", {metric: measured}, {metric: reference})
        return AnalysisResult(reason_of(verdicts), tuple(verdicts), figures)


def read_preference(template: Path) -> PreferenceAnalysis:
    """The test as its template has it."""
    spec = read_yaml(template)[0]["spec"]
    (metric,) = spec["metrics"]
    given = {arg["name"]: str(arg.get("value", "")) for arg in spec["args"]}
    return PreferenceAnalysis(
        users=4,  # who ask at the same time; with their keys they take turns
        seconds=metric["count"] * parse_duration(given["look"]),
        shape="steady",
        answer_timeout_s=30.0,
        looks=metric["count"],
        quantile=float(given["quantile"]),
    )
