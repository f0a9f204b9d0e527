"""The change of each case: broken, fixed, failed, not evaluated, changed, or unchanged; sorted by importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sluice.core.extras import hooks
from sluice.evaluation.paired_cases import CasePair

Status = Literal["broken", "failed", "not evaluated", "not compared", "error", "fixed", "changed", "same"]
# A share on the other side of this is a flip: from more right than wrong to more wrong than right, or back.
RIGHT = 0.5
ORDER: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class CaseChange:
    """`fixed` and `broken` name metrics, those that decide first; `changes` has before and after of each that moved.

    A case is broken when a deciding metric broke in it, whatever else was fixed. `gain` is the sum over the deciding
    shares of what the head gained, below 0 where it lost.
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
        """What extras say of the two sides, such as where the calls of tools part."""
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
    """The change of each case."""
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
