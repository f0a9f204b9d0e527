"""Candidate and champion, case by case: what moved, what was fixed, what broke.

Works on the rows of cases.jsonl. Only cases that both were asked are compared; a score counts for a case when both
have it. How right an answer is, is its F1, or for a question without an answer, whether it declined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from sluice.data.flips import RIGHT, flip, scores_of

_ANSWER = ("f1", "decline_accuracy")

Status = Literal["broken", "error", "wrong", "fixed", "right"]
_ORDER: tuple[Status, ...] = ("broken", "error", "wrong", "fixed", "right")


@dataclass(frozen=True)
class Delta:
    """One metric over the cases that both scored: the means, their difference, and the ids that flipped."""

    candidate: float
    champion: float
    samples: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def difference(self) -> float:
        return self.candidate - self.champion


@dataclass(frozen=True)
class CaseChange:
    """One case of the candidate beside the champion's answer to it.

    `score` is how right the answer is (0 to 1), `change` what it gained on the champion's, `flipped` the metrics that
    crossed the middle in the direction of the status.
    """

    row: Mapping[str, Any]
    champion: Mapping[str, Any] | None
    score: float | None
    change: float | None
    status: Status
    flipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Deltas by metric, and every case of the candidate: broken first, then errors, wrong, fixed, right."""

    metrics: dict[str, Delta] = field(default_factory=dict)
    cases: tuple[CaseChange, ...] = ()
    common: int = 0


def compare(candidate: Sequence[Mapping[str, Any]], champion: Sequence[Mapping[str, Any]]) -> Comparison:
    """Compares rows by their id. With no rows of the champion nothing can be fixed or broken."""
    others = {row["id"]: row for row in champion}
    changes = [_change(row, others.get(row["id"])) for row in candidate]
    changes.sort(key=lambda change: (_ORDER.index(change.status), change.change or 0.0, change.score or 0.0))
    pairs = [(row["id"], scores_of(row), scores_of(others[row["id"]])) for row in candidate if row["id"] in others]
    names = sorted({name for _, mine, _ in pairs for name in mine})
    metrics = {name: delta for name in names if (delta := _delta(name, pairs)) is not None}
    return Comparison(metrics, tuple(changes), len(pairs))


def _delta(name: str, pairs: Sequence[tuple[str, Mapping[str, float], Mapping[str, float]]]) -> Delta | None:
    both = [(case, mine[name], theirs[name]) for case, mine, theirs in pairs if name in mine and name in theirs]
    if not both:
        return None
    return Delta(
        candidate=fmean(new for _, new, _ in both),
        champion=fmean(old for _, _, old in both),
        samples=len(both),
        fixed=tuple(case for case, new, old in both if flip(old, new) == "fixed"),
        broken=tuple(case for case, new, old in both if flip(old, new) == "broken"),
    )


def _change(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> CaseChange:
    mine, theirs = scores_of(row), scores_of(other) if other else {}
    name = next((name for name in _ANSWER if name in mine), None)
    score, before = (mine[name], theirs.get(name)) if name else (None, None)
    status: Status = "right" if score is not None and score >= RIGHT else "wrong"
    crossed = None if score is None or before is None else flip(before, score)
    if crossed:
        status = crossed
    elif row.get("errors"):
        status = "error"
    flipped = tuple(
        metric for metric in mine if crossed and metric in theirs and flip(theirs[metric], mine[metric]) == crossed
    )
    return CaseChange(row, other, score, None if score is None or before is None else score - before, status, flipped)
