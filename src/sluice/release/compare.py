"""Candidate and champion, case by case: what moved, what was fixed, what broke.

Works on the rows of cases.jsonl. Only cases that both answered are compared; a score counts for a case when both have
it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

# A score on the other side of this is a flip: the answer went from more right than wrong to more wrong than right.
_RIGHT = 0.5

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
    """One case of the candidate beside the champion's answer to it; `score` is the mean of its scores."""

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
    pairs = [(row, others[row["id"]]) for row in candidate if row["id"] in others]
    names = sorted({name for row, _ in pairs for name in _scores(row)})
    metrics = {name: delta for name in names if (delta := _delta(name, pairs)) is not None}
    return Comparison(metrics, tuple(changes), len(pairs))


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    found = row.get("scores") or {}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def _delta(name: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Delta | None:
    both = [(row["id"], _scores(row)[name], _scores(other)[name]) for row, other in pairs
            if name in _scores(row) and name in _scores(other)]  # fmt: skip
    if not both:
        return None
    return Delta(
        candidate=fmean(new for _, new, _ in both),
        champion=fmean(old for _, _, old in both),
        samples=len(both),
        fixed=tuple(case for case, new, old in both if old < _RIGHT <= new),
        broken=tuple(case for case, new, old in both if new < _RIGHT <= old),
    )


def _change(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> CaseChange:
    mine, theirs = _scores(row), _scores(other) if other else {}
    shared = [name for name in mine if name in theirs]
    change = fmean(mine[name] - theirs[name] for name in shared) if shared else None
    broken = tuple(name for name in shared if mine[name] < _RIGHT <= theirs[name])
    fixed = tuple(name for name in shared if theirs[name] < _RIGHT <= mine[name])
    score = fmean(mine.values()) if mine else None
    status: Status = "right" if score is not None and score >= _RIGHT else "wrong"
    flipped: tuple[str, ...] = ()
    if broken and (change or 0) <= 0:
        status, flipped = "broken", broken
    elif row.get("errors"):
        status = "error"
    elif fixed:
        status, flipped = "fixed", fixed
    return CaseChange(row, other, score, change, status, flipped)
