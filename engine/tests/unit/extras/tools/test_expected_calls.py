import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.data.rows import Row
from sluice.evaluation.paired_cases import gather
from sluice.evaluation.registry import Assertion, Output
from sluice.extras.tools.expected_calls import (
    ExpectedCalls,
    check_rows,
    fault_of_calls,
    parting,
)
from sluice.extras.tools.metrics import tool_calls, world_after
from sluice.extras.tools.release_agent import evaluated_case

from .conftest import FIND, OPEN, QUESTION, Scene, run, tickets

Made = Callable[..., Scene]


def step(name: str, outcome: str = "done", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "outcome": outcome}


def row(**tools: Any) -> Row:
    return Row.model_validate(
        {"id": "r", "question": QUESTION, "answers": [], "doc_ids": [], "expect": {"tools": tools}}
    )


FOUND, OPENED = step("find_tickets", text="Quince"), step("open_ticket", title="x", release="quince")
WAITS = OPENED | {"outcome": "pending"}
BOTH = [{"tool": "find_tickets", "args": {"text": "quince"}}, {"tool": "open_ticket"}]


@pytest.mark.parametrize(
    ("wanted", "steps", "fault"),
    [
        ({"calls": BOTH}, [FOUND, OPENED], ""),
        ({"calls": BOTH}, [FOUND, step("release_status"), WAITS], ""),
        ({"calls": BOTH}, [OPENED, FOUND], 'open_ticket {} was expected; call 1 was open_ticket {"release"'),
        ({"calls": BOTH, "order": "any"}, [OPENED, FOUND], ""),
        ({"calls": BOTH, "order": "any"}, [WAITS], ""),
        ({"calls": BOTH}, [WAITS], 'find_tickets {"text": "quince"} was expected; call 1 was open_ticket'),
        ({"calls": BOTH}, [FOUND], "open_ticket {} was expected; there was none"),
        ({"calls": BOTH}, [step("find_tickets", "failed", text="quince"), OPENED], "call 1: find_tickets"),
        ({"calls": BOTH}, [step("find_tickets", text="plum"), OPENED], "find_tickets"),
        ({"calls": BOTH[:1], "forbidden": ["open_ticket"]}, [FOUND, WAITS], "call 2: open_ticket"),
        ({"calls": BOTH[:1], "forbidden": ["*"]}, [FOUND, FOUND], "call 2: find_tickets"),
        ({"forbidden": ["*"]}, [], ""),
        ({"calls": BOTH, "approve": False}, [FOUND, OPENED | {"outcome": "denied"}], "open_ticket"),
    ],
)
def test_where_calls_part_from_what_is_expected(wanted: Any, steps: Any, fault: str) -> None:
    found = fault_of_calls(ExpectedCalls.model_validate(wanted), steps)
    assert found.startswith(fault) if fault else found == ""


async def evaluated(made: Scene, asked: Row) -> Output:
    with evaluated_case(asked, made.runner.services):
        answer = await made.ask(asked.question)
    return Output(answer.text, steps=answer.steps)


TITLES = {"tool": "find_tickets", "args": {"text": "citations are lost"}}


def test_a_row_decides_and_looks_at_a_world_of_its_own(scene: Made, world: sqlite3.Connection) -> None:
    made = scene([FIND], [OPEN], "Ticket 4 is open.")
    asked = row(calls=BOTH, approve=True, world=[{**TITLES, "holds": "Citations are lost"}])
    output = run(evaluated(made, asked))
    assert output.text == "Ticket 4 is open."
    assert tool_calls.score(asked, output) == world_after.score(asked, output) == Assertion(True)
    assert len(tickets(world)) == 3, "the world of everybody is as it was"


def test_a_world_that_is_not_as_expected_is_said(scene: Made) -> None:
    made = scene("I have opened a ticket.")
    asked = row(world=[{**TITLES, "holds": "Citations are lost"}])
    found: Any = world_after.score(asked, run(evaluated(made, asked)))
    assert (found.passed, "it says No ticket is like that." in found.reason) == (False, True)


@pytest.mark.parametrize(("decision", "outcome"), [({"approve": False}, "denied"), ({}, "pending")])
def test_without_an_approval_the_world_stays_as_it_was(scene: Made, decision: dict[str, bool], outcome: str) -> None:
    asked = row(world=[{**TITLES, "lacks": "Citations are lost"}], **decision)
    output = run(evaluated(scene([OPEN], "It was denied."), asked))
    assert [one["outcome"] for one in output.steps] == [outcome, "world"]
    assert world_after.score(asked, output) == Assertion(True)


def test_reports_show_where_two_trajectories_part() -> None:
    def case(*steps: Any) -> Any:
        return gather([{"id": "r", "trial": 0, "answer": "a", "steps": list(steps)}], "head")[0]["r"]

    other = step("find_tickets", text="plum")
    assert parting(case(FOUND, OPENED), case(FOUND, OPENED)) == ""
    part = 'trajectories part at call 1: find_tickets {"text": "Quince"} (done) → find_tickets {"text": "plum"} (done)'
    assert parting(case(FOUND, OPENED), case(other)) == part
    assert parting(case(FOUND, WAITS), case(FOUND)).startswith("trajectories part at call 2: open_ticket")
    assert parting(case(FOUND), case(step("find_tickets", "failed", text="Quince"))).endswith("(failed)")
    assert parting(None, case(FOUND)) == ""
    changed = WAITS | {"approval": "another"}
    assert parting(case(WAITS), case(changed)) == "", "each approval has an id of its own"


def test_the_contract_of_the_data_names_what_is_wrong(tmp_path: Path) -> None:
    rows = [row(calls=BOTH), row(calls=BOTH, world=[{**TITLES, "holds": "x"}])]
    lines = [json.dumps(one.as_dict()) for one in rows]
    lines.append(lines[0].replace('"tool": "open_ticket"', '"tol": "open_ticket"'))
    (tmp_path / "eval.jsonl").write_text("\n".join(lines) + "\n")
    (fault, *_) = faults = check_rows(tmp_path)
    assert (len(faults), fault.line) == (1, 3)
    assert "expect.tools.calls.1.tool: Field required" in str(fault)
