"""Pairs the records of base and head case by case, and reports what makes them incomparable.

A case with several trials counts once: its figures are means over the trials, its label the most frequent one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal, TypeAlias

from sluice.core.text import normalise

Record: TypeAlias = Mapping[str, Any]
Status = Literal["answered", "failed", "not_evaluated"]

# Figures that come from comparing and not from a metric: the name is theirs in the policy and in the report.
ANSWERED = "answered"
CONSISTENCY = "consistency"


@dataclass(frozen=True)
class CaseResult:
    """One case of one side, over its trials; `status` is the worst of theirs."""

    id: str
    trials: tuple[Record, ...]
    status: Status
    values: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    cost: float | None = None

    @property
    def question(self) -> str:
        return str(self.trials[0].get("question") or "")

    @property
    def expected(self) -> tuple[str, ...]:
        return tuple(str(text) for text in self.trials[0].get("expected") or ())

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(str(tag) for tag in self.trials[0].get("tags") or ())

    @property
    def recorded(self) -> bool:
        """Return whether any answer came out of the response cache, with times of another run."""
        return any(trial.get("recorded") for trial in self.trials)

    @property
    def crashed(self) -> AbstractSet[str]:
        """The metrics that crashed; a case that failed has an error for each metric, none of which did."""
        return self.errors.keys() if self.status == "answered" else frozenset()

    @property
    def answers(self) -> tuple[str | None, ...]:
        return tuple(trial.get("answer") for trial in self.trials)


@dataclass(frozen=True)
class CasePair:
    """A case with its result on each side; None for a side without it."""

    id: str
    base: CaseResult | None
    head: CaseResult | None

    @property
    def both(self) -> tuple[CaseResult, CaseResult] | None:
        """The results where both sides were evaluated, failed or not."""
        if self.base is None or self.head is None:
            return None
        return None if "not_evaluated" in (self.base.status, self.head.status) else (self.base, self.head)

    @property
    def case(self) -> CaseResult:
        found = self.head or self.base
        assert found is not None
        return found


def gather(records: Sequence[Record], side: str) -> tuple[dict[str, CaseResult], list[str]]:
    trials: dict[str, dict[int, Record]] = {}
    nameless: list[str] = []
    twice: dict[str, None] = {}
    for number, record in enumerate(records, 1):
        case, trial = str(record.get("id") or ""), int(record.get("trial") or 0)
        if not case:
            nameless.append(str(number))
        elif trial in trials.setdefault(case, {}):
            twice[case] = None
        else:
            trials[case][trial] = record
    faults = [f"{_count(nameless, 'record')} of {side} without an id: number {some(nameless)}"] if nameless else []
    if twice:
        faults.append(f"{_count(twice, 'case')} in {side} more than once for the same trial: {some(twice)}")
    return {name: _case(name, [found[trial] for trial in sorted(found)]) for name, found in trials.items()}, faults


def pair(base: Mapping[str, CaseResult], head: Mapping[str, CaseResult]) -> tuple[list[CasePair], list[str]]:
    names = [*head, *(name for name in base if name not in head)]
    pairs = [CasePair(name, base.get(name), head.get(name)) for name in names]
    faults = []
    for one, other, where in ((base, head, "head"), (head, base, "base")):
        if missing := [name for name in one if name not in other]:
            faults.append(f"{_count(missing, 'case')} not asked in {where}: {some(missing)}")
    both = [(base[name], head[name]) for name in names if name in base and name in head]
    if differ := [old.id for old, new in both if (old.question, old.expected) != (new.question, new.expected)]:
        faults.append(f"{_count(differ, 'case')} with another question or expected answer: {some(differ)}")
    if uneven := [old.id for old, new in both if len(old.trials) != len(new.trials)]:
        faults.append(f"{_count(uneven, 'case')} asked a different number of times: {some(uneven)}")
    return pairs, faults


def complete(pairs: Sequence[CasePair], assertions: AbstractSet[str]) -> list[CasePair]:
    """Take an assertion that judged one side only as held on the other: it found nothing wrong there.

    Else a short answer whose language can't be told would hide that the other side's is in the wrong one.
    """

    def filled(case: CaseResult | None, other: CaseResult | None) -> CaseResult | None:
        if case is None or other is None or case.status != "answered":
            return case
        missing = (assertions & other.values.keys()) - case.values.keys() - case.errors.keys()
        return replace(case, values=case.values | dict.fromkeys(sorted(missing), 1.0)) if missing else case

    return [CasePair(one.id, filled(one.base, one.head), filled(one.head, one.base)) for one in pairs]


def scores_of(row: Mapping[str, Any]) -> dict[str, float]:
    found = row.get("scores") or {}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def some(names: Iterable[str], at_most: int = 5) -> str:
    listed = list(names)
    more = f" and {len(listed) - at_most} more" if len(listed) > at_most else ""
    return ", ".join(listed[:at_most]) + more


def _count(names: Collection[str], noun: str) -> str:
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def _case(name: str, trials: Sequence[Record]) -> CaseResult:
    found = {str(trial.get("status") or "answered") for trial in trials}
    status: Status = "not_evaluated" if "not_evaluated" in found else "failed" if "failed" in found else "answered"
    costs = [float(trial["cost"]) for trial in trials if trial.get("cost") is not None]
    values = _values(trials)
    if status == "answered":
        # The share of trials that agree with the most frequent answer, after normalisation; declining is one answer.
        answers = ["" if trial.get("declined") else " " + normalise(str(trial.get("answer") or "")) for trial in trials]
        values[CONSISTENCY] = Counter(answers).most_common(1)[0][1] / len(answers)
    if status != "not_evaluated":
        values[ANSWERED] = fmean((trial.get("status") or "answered") == "answered" for trial in trials)
    labels: dict[str, list[str]] = {}
    for metric, word in (entry for trial in trials for entry in (trial.get("labels") or {}).items()):
        if word is not None:
            labels.setdefault(metric, []).append(str(word))
    return CaseResult(
        id=name,
        trials=tuple(trials),
        status=status,
        values=values,
        # Ties go to the first in the alphabet, so that the order of trials does not matter.
        labels={metric: min(words, key=lambda word: (-words.count(word), word)) for metric, words in labels.items()},
        errors=_errors(trials),
        cost=fmean(costs) if len(costs) == len(trials) and all(map(math.isfinite, costs)) else None,
    )


def _values(trials: Sequence[Record]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for trial in trials:
        passes = {name: float(bool(one["passed"])) for name, one in (trial.get("assertions") or {}).items() if one}
        for name, value in (scores_of(trial) | passes).items():
            found.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in found.items()}


def _errors(trials: Sequence[Record]) -> dict[str, str]:
    """Return the first error of each metric; a score that is not a number counts as one."""
    found: dict[str, str] = {}
    for trial in trials:
        for name, text in (trial.get("errors") or {}).items():
            found.setdefault(str(name), str(text))
        for name, value in (trial.get("scores") or {}).items():
            if value is not None and not math.isfinite(value):
                found.setdefault(str(name), f"the score is {value}")
    return found
