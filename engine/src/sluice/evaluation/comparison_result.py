"""The result of a comparison as values: metrics, labels, slices, cases, cost, and the overall verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from pydantic_core import to_jsonable_python

from sluice.core.extras import hooks
from sluice.evaluation.comparison_policy import ComparisonPolicy, Decides
from sluice.evaluation.paired_cases import CasePair
from sluice.evaluation.significance import MetricJudgement, MetricVerdict

Status = Literal["broken", "failed", "not evaluated", "not compared", "error", "fixed", "changed", "same"]
# A share on the other side of this is a flip: from more right than wrong to more wrong than right, or back.
RIGHT = 0.5
ORDER: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class CaseChange:
    """The change of one case. It is broken when a deciding metric broke in it, whatever else was fixed.

    `gain` is the sum over the deciding shares of what the head gained, below 0 where it lost.
    """

    pair: CasePair
    status: Status
    fixed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    changes: tuple[tuple[str, float, float], ...] = ()
    gain: float = 0.0

    @property
    def id(self) -> str:
        return self.pair.id

    @property
    def notes(self) -> list[str]:
        """Notes of extras on the two sides."""
        return [said for note in hooks("case_note").values() if (said := note(self.pair.base, self.pair.head))]

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "tags": list(self.pair.case.tags),
            "fixed": list(self.fixed),
            "broken": list(self.broken),
            "changes": {name: [before, after] for name, before, after in self.changes},
        }


def changes_of(
    pairs: Sequence[CasePair],
    flipping: Mapping[str, bool],
    deciding: AbstractSet[str],
    worse: AbstractSet[str] = frozenset(),
) -> list[CaseChange]:
    found = [_change(one, flipping, deciding) for one in pairs]
    return sorted(found, key=lambda one: (ORDER.index(one.status), worse.isdisjoint(one.broken), one.gain, one.id))


def _change(one: CasePair, flipping: Mapping[str, bool], deciding: AbstractSet[str]) -> CaseChange:
    if one.base is None or one.head is None:
        return CaseChange(one, "not compared")
    if one.both is None:
        return CaseChange(one, "not evaluated")
    base, head = one.both
    moved = [
        (name, base.values[name], value)
        for name, value in head.values.items()
        if name in base.values and base.values[name] != value
    ]
    moved.sort(key=lambda change: change[0] not in deciding)
    fixed: list[str] = []
    broken: list[str] = []
    gain = 0.0
    for name, before, after in moved:
        if name not in flipping:
            continue
        old, new = (before, after) if flipping[name] else (1 - before, 1 - after)
        gain += new - old if name in deciding else 0.0
        if (old >= RIGHT) != (new >= RIGHT):
            (fixed if new >= RIGHT else broken).append(name)
    status: Status = "same" if base.answers == head.answers else "changed"
    if head.status == "failed":
        status = "failed"
    elif deciding & set(broken):
        status = "broken"
    elif base.errors.keys() | head.errors.keys() and base.status == "answered":
        status = "error"
    elif deciding & set(fixed) or base.status == "failed":
        status = "fixed"
    return CaseChange(one, status, tuple(fixed), tuple(broken), tuple(moved), gain)


SCHEMA = 1
Overall = Literal["improved", "worse", "no difference seen", "too few cases", "not evaluated"]


@dataclass(frozen=True)
class MetricComparison:
    """One metric of both sides. `fixed`, `broken` and `errors` are ids of cases."""

    name: str
    unit: str
    direction: str
    aggregate: str
    decides: Decides
    judgement: MetricJudgement
    fixed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    note: str = ""

    @property
    def verdict(self) -> MetricVerdict:
        return self.judgement.verdict

    @property
    def fell(self) -> bool:
        """True if the head is worse by as much as matters, significant or not."""
        loss = (self.judgement.difference or 0.0) * (-1 if self.direction == "higher" else 1)
        return loss > 0 and loss >= self.judgement.smallest

    def as_dict(self) -> dict[str, Any]:
        about = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "judgement"}
        return about | self.judgement.as_dict()


@dataclass(frozen=True)
class SliceComparison:
    """A deciding metric over the cases with one tag. Slices inform; together they are a family of their own."""

    tag: str
    metric: str
    judgement: MetricJudgement

    def as_dict(self) -> dict[str, Any]:
        return {"tag": self.tag, "metric": self.metric, **self.judgement.as_dict()}


@dataclass(frozen=True)
class LabelComparison:
    """The moves of a label as (before, after, ids), most cases first, over `cases` scored on both sides."""

    name: str
    cases: int
    changes: tuple[tuple[str, str, tuple[str, ...]], ...]

    def as_dict(self) -> dict[str, Any]:
        changes = [{"base": old, "head": new, "cases": list(ids)} for old, new, ids in self.changes]
        return {"name": self.name, "cases": self.cases, "changes": changes}


@dataclass(frozen=True)
class CostComparison:
    """US dollars a question, over the `cases` whose price is known on both sides."""

    base: float
    head: float
    cases: int

    def as_dict(self) -> dict[str, Any]:
        per_case = {"base": self.base, "head": self.head, "difference": self.head - self.base}
        return {"cases": self.cases, "per_case": per_case, "per_1000": {k: v * 1000 for k, v in per_case.items()}}


@dataclass(frozen=True)
class Comparison:
    """The whole result. `reasons` say why it isn't green although nothing may be worse.

    `named` has the ids of cases that failed or were not evaluated, by side; `left_out` the deciding metrics that can't
    be computed here; `stopped` says why only `asked` of the `planned` cases were asked; `warnings` refuse nothing.
    """

    policy: ComparisonPolicy
    metrics: tuple[MetricComparison, ...]
    labels: tuple[LabelComparison, ...]
    slices: tuple[SliceComparison, ...]
    cases: tuple[CaseChange, ...]
    reasons: tuple[str, ...]
    named: dict[str, dict[str, tuple[str, ...]]]
    errors: dict[str, str]
    cost: CostComparison | None
    trials: int
    compared: int
    identical: int
    asked: int = 0
    planned: int = 0
    stopped: str = ""
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def deciding(self) -> tuple[MetricComparison, ...]:
        return tuple(metric for metric in self.metrics if metric.decides != "never")

    @property
    def verdict(self) -> Overall:
        """Worse before all else; then, whatever was not judged; improved only if nothing stands against it."""
        found = {metric.verdict for metric in self.deciding}
        if "worse" in found:
            return "worse"
        if self.reasons:
            return "not evaluated"
        always = [metric for metric in self.deciding if metric.decides == "always"]
        if found <= {"too few cases"} or any(metric.verdict == "too few cases" for metric in always):
            return "too few cases"
        return "improved" if "improved" in found else "no difference seen"

    @property
    def unsure(self) -> tuple[MetricComparison, ...]:
        """The deciding metrics that fell by as much as matters, which these cases can't tell from chance."""
        return tuple(one for one in self.deciding if one.verdict == "no difference seen" and one.fell)

    @property
    def passed(self) -> bool:
        refused = self.policy.unsure == "refuse" and self.unsure
        return self.verdict in ("improved", "no difference seen") and not refused

    @property
    def status_counts(self) -> dict[str, int]:
        return dict(Counter(case.status for case in self.cases))

    def as_dict(self) -> dict[str, Any]:
        plain = ("verdict", "passed", "stopped", "reasons", "left_out", "warnings", "errors")
        document = {
            "schema": SCHEMA,
            **{key: getattr(self, key) for key in plain},
            "policy": self.policy.model_dump(mode="json"),
            "counts": {
                "cases": len(self.cases),
                "asked": self.asked,
                "planned": self.planned,
                "compared": self.compared,
                "trials": self.trials,
                "identical_answers": self.identical,
                "by_status": self.status_counts,
            },
            "unsure": [one.name for one in self.unsure],
            **self.named,
            **{key: [one.as_dict() for one in getattr(self, key)] for key in ("metrics", "labels", "slices", "cases")},
            "cost": self.cost.as_dict() if self.cost else None,
        }
        found: dict[str, Any] = to_jsonable_python(document)
        return found
