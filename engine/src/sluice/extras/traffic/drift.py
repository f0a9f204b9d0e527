"""Drift of live traffic from the evaluation set: four means, each between 0 and 1.

The means of the traffic are compared with those of the evaluation set by Welch's t-test and by their difference; the
numbers that decide are under `drift:` in config/gates.yaml. Means that cannot be compared are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from sluice.core.errors import GateFailed
from sluice.core.settings import Settings, load_settings
from sluice.data.rows import Row
from sluice.evaluation.case_changes import RIGHT
from sluice.evaluation.paired_cases import scores_of
from sluice.extras.traffic.recorded_exchange import Exchange

Embed = Callable[[Sequence[str]], Any]

NO_QUESTIONS = "questions are not recorded: `traces.contents` in config/telemetry.yaml is off"
NO_SCORES = "retrieval scores of the evaluation set need build/index and the embedder: `sluice index build`"
NO_CASES = "declines and right answers of the evaluation set need build/evaluation/cases.jsonl: `sluice evaluate`"


class DriftPolicy(Settings):
    """`drift:` of config/gates.yaml. A mean has shifted when the probability of such a difference by chance is below
    `p_value` and the difference is at least `difference`. Fewer than `min_samples` on either side are too few to say.
    """

    p_value: float = Field(gt=0, lt=0.5)
    difference: float = Field(gt=0, lt=1)
    min_samples: int = Field(ge=5)


class _GatesFile(Settings):
    """config/gates.yaml as it is read here; the rest is read by release/gates.py and
    evaluation/comparison_policy.py."""

    gates: Any = None
    comparison: Any = None
    drift: DriftPolicy


def load_drift_policy(path: Path) -> DriftPolicy:
    """Reads config/gates.yaml; all faults are raised at once, with their lines."""
    return load_settings(path, _GatesFile).drift


@dataclass(frozen=True)
class MeanShift:
    """One comparison. `base`, `head`: values of the evaluation set and of the traffic, 0 and 1 where they are a share.
    `higher_is_fine`: only a fall is a shift."""

    name: str
    base: Sequence[float]
    head: Sequence[float]
    higher_is_fine: bool = False

    @property
    def means(self) -> tuple[float, float]:
        return fmean(self.base), fmean(self.head)

    @property
    def p(self) -> float:
        """The probability of a difference as large by chance; scipy is imported inside."""
        from scipy.stats import ttest_ind

        old, new = self.means
        if len({*self.base}) == 1 == len({*self.head}):  # no spread, where the test says nothing
            return float(old == new)
        return float(ttest_ind(self.base, self.head, equal_var=False).pvalue)

    def verdict(self, policy: DriftPolicy) -> Literal["shifted", "steady", "too few"]:
        if min(len(self.base), len(self.head)) < policy.min_samples:
            return "too few"
        old, new = self.means
        if abs(new - old) < policy.difference or (self.higher_is_fine and new >= old):
            return "steady"
        return "shifted" if self.p < policy.p_value else "steady"

    def as_dict(self, policy: DriftPolicy) -> dict[str, Any]:
        """JSON-able."""
        verdict = self.verdict(policy)
        return {
            "name": self.name,
            "verdict": verdict,
            "p": None if verdict == "too few" else float(f"{self.p:.3g}"),
            "means": [round(mean, 3) for mean in self.means],
            "samples": [len(self.base), len(self.head)],
        }


@dataclass(frozen=True)
class TrafficBaseline:
    """The evaluation set. `similarities`: of its questions to their nearest passages; `cases`: its last results, as in
    cases.jsonl; both empty where there are none."""

    rows: Sequence[Row]
    similarities: Sequence[float] = ()
    cases: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class DriftReport:
    """`notes`: what could not be compared, and why."""

    exchanges: int
    shifts: tuple[MeanShift, ...]
    notes: tuple[str, ...] = field(default=())

    def shifted(self, policy: DriftPolicy) -> list[str]:
        return [shift.name for shift in self.shifts if shift.verdict(policy) == "shifted"]

    def as_dict(self, policy: DriftPolicy) -> dict[str, Any]:
        """JSON-able."""
        return {
            "exchanges": self.exchanges,
            "shifted": self.shifted(policy),
            "shifts": [shift.as_dict(policy) for shift in self.shifts],
            "notes": list(self.notes),
        }

    def require(self, policy: DriftPolicy) -> None:
        """Raises GateFailed when something has shifted."""
        if shifted := self.shifted(policy):
            raise GateFailed(
                f"the traffic is not what the evaluation set asks any more: {', '.join(shifted)}",
                remedy="look at the report; `sluice data harvest` proposes rows for what is asked now",
            )


def compare(baseline: TrafficBaseline, traffic: Sequence[Exchange], embed: Embed | None = None) -> DriftReport:
    """The drift of what was answered. `embed`: texts to unit vectors, where there is an embedder."""
    shifts: list[MeanShift] = []
    notes: list[str] = []
    asked = [exchange.question for exchange in traffic if exchange.question]
    if not asked:
        notes.append(NO_QUESTIONS)
    elif embed and baseline.rows:
        own, vectors = embed([row.question for row in baseline.rows]), embed(asked)
        near = [float(value) for value in (vectors @ own.T).max(axis=1)]
        # Nearer than evaluation questions are to each other is what the evaluation set is there for.
        others = _nearest_other(baseline.rows, own)
        shifts.append(MeanShift("nearness to an evaluation question", others, near, higher_is_fine=True))
    if baseline.similarities:
        found = [exchange.similarity for exchange in traffic if exchange.similarity is not None]
        shifts.append(MeanShift("similarity of the nearest passage", baseline.similarities, found))
    else:
        notes.append(NO_SCORES)
    if baseline.cases:
        shifts += _outcomes(baseline.cases, traffic)
    else:
        notes.append(NO_CASES)
    return DriftReport(len(traffic), tuple(shift for shift in shifts if shift.base and shift.head), tuple(notes))


def _nearest_other(rows: Sequence[Row], vectors: Any) -> list[float]:
    """Cosine of each question to the nearest one that is not about the same document: those were asked together."""
    cosines = vectors @ vectors.T
    for place, row in enumerate(rows):
        same = [other == place or bool(set(row.doc_ids) & set(rows[other].doc_ids)) for other in range(len(rows))]
        cosines[place, same] = -1.0
    return [float(value) for value in cosines.max(axis=1)]


def _outcomes(cases: Sequence[Mapping[str, Any]], traffic: Sequence[Exchange]) -> list[MeanShift]:
    answered = [case for case in cases if case.get("status", "answered") == "answered"]
    return [
        MeanShift(
            "declined",
            [float(case["declined"]) for case in answered],
            [float(exchange.declined) for exchange in traffic if not exchange.blocked],
        ),
        MeanShift(
            "good answers, by F1 and by feedback",
            [float(score >= RIGHT) for case in answered if (score := scores_of(case).get("f1")) is not None],
            [float(exchange.feedback >= RIGHT) for exchange in traffic if exchange.feedback is not None],
        ),
    ]
