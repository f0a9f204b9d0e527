"""`expect.tools` of a row: expected and forbidden calls, their order, and what the world must hold afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from sluice.core.settings import Settings
from sluice.data.rows import Row, scan_rows

if TYPE_CHECKING:
    from sluice.data.scanning import ValidationIssue
    from sluice.evaluation.paired_cases import CaseResult

_OK = ("done", "pending")
Step = Mapping[str, Any]


class ExpectedCall(Settings):
    """A call and the arguments that matter. Texts are compared without case."""

    tool: str
    args: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


class ExpectedState(Settings):
    """A reading call whose result must hold one text, or lack another."""

    tool: str
    args: dict[str, Any] = {}  # noqa: RUF012
    holds: str = ""
    lacks: str = ""


class ExpectedCalls(Settings):
    """`order`: whether the expected calls come as they stand here; others may come between them. `forbidden`: tools
    that must not be called; `*`: no others than those expected. `approve`: what is decided about calls that wait, in
    the evaluation, where functions act on a world of their own; None: they wait, and the answer says so."""

    calls: tuple[ExpectedCall, ...] = ()
    order: Literal["given", "any"] = "given"
    forbidden: tuple[str, ...] = ()
    approve: bool | None = None
    world: tuple[ExpectedState, ...] = ()


def expected_calls(row: Row) -> ExpectedCalls | None:
    """Return the calls that a row expects. Raises pydantic's ValidationError."""
    given = row.expect.tools if row.expect else None
    return None if given is None else ExpectedCalls.model_validate(given)


def check_rows(data: Path) -> list[ValidationIssue]:
    faults = []
    for name in ("train.jsonl", "eval.jsonl"):
        for placed in scan_rows(data / name)[0] if (data / name).is_file() else ():
            try:
                expected_calls(placed.value)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, ("expect.tools", *first["loc"])))
                faults.append(placed.fault(f"{place}: {first['msg']}"))
    return faults


def fault_of_calls(wanted: ExpectedCalls, steps: Sequence[Step]) -> str:
    """Describe the first difference between an answer's calls and the expected ones."""
    called = [step for step in steps if step["outcome"] not in ("world", "denied")]
    if broken := [step for step in called if step["outcome"] not in _OK]:
        return f"call {called.index(broken[0]) + 1}: {shown(broken[0])}"
    expected, other, waits = [*wanted.calls], "there was none", False
    for number, step in enumerate(called, 1):
        candidates = expected if wanted.order == "any" else expected[:1]
        if found := next((one for one in candidates if _is(one, step)), None):
            expected.remove(found)
            waits = waits or step["outcome"] == "pending"  # and what is expected after it has not come yet
        elif {step["name"], "*"} & {*wanted.forbidden}:
            return f"call {number}: {shown(step)} is forbidden"
        else:
            other = f"call {number} was {shown(step)}"
    if not expected or waits:
        return ""
    return f"{expected[0].tool} {_args(expected[0].args)} was expected; {other}"


def parting(base: CaseResult | None, head: CaseResult | None) -> str:
    """Describe the first difference between the calls of two sides; "" if there is none."""
    for old, new in zip(base.trials if base else (), head.trials if head else (), strict=False):
        before, after = (
            [step for step in trial.get("steps") or () if step["outcome"] != "world"] for trial in (old, new)
        )
        for number in range(max(len(before), len(after))):
            one, other = (shown(side[number]) if number < len(side) else "no call" for side in (before, after))
            if one != other:
                return f"trajectories part at call {number + 1}: {one} → {other}"
    return ""


def shown(step: Step) -> str:
    """Return a call in one line, without the id of its approval, which differs each time."""
    return f"{step['name']} {_args(step['args'])} ({step['outcome']})"


def _args(args: Any) -> str:
    return json.dumps(args, ensure_ascii=False, sort_keys=True)[:120]


def _is(one: ExpectedCall, step: Step) -> bool:
    given = step["args"] if isinstance(step["args"], Mapping) else {}
    return one.tool == step["name"] and all(_folded(one.args[key]) == _folded(given.get(key)) for key in one.args)


def _folded(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value
