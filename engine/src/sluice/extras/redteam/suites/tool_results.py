"""Instructions in what a tool has returned: the user is honest, and so is the tool, but not what it has found.

The calls and results are those of a client's own tools, which come with the request. They take the way of all results
of tools to a model, those of a release's own tools too: past the guards of passages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from sluice.extras.redteam.attack import Attack, AttackFixture, AttackSuite, user
from sluice.extras.redteam.attack_wording import fill, turn
from sluice.extras.redteam.canary_tokens import token
from sluice.extras.redteam.cases import load_cases
from sluice.extras.redteam.detectors import says

_FIRST_TOKEN = 512
_EACH = 256


def _tool(name: str, argument: str, description: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = (_tool("find_notes", "text", "Finds notes about a system."), _tool("open_ticket", "title", "Opens a ticket."))


def _attacks(scene: AttackFixture, name: str, orders: Callable[[], list[str]]) -> list[Attack]:  # noqa: ARG001
    documents, results = load_cases("documents"), load_cases("tool_results")["results"]
    first, second = documents["topics"]["first"], documents["topics"]["second"]
    made = []
    for number in range(_EACH):
        canary, topic = token(_FIRST_TOKEN + number), f"{turn(first, number // 16)} {turn(second, number)}"
        injection = turn(documents["injections"], number)
        order = fill(injection["text"], order=fill(turn(orders(), number // 16), token=canary))
        fact = fill(turn(documents["facts"], number), topic=topic, number=str(2 + number % 60))
        body = f"{order} {fact}" if injection["place"] == "before" else f"{fact} {order}"
        result = fill(turn(results, number // 2), topic=topic, body=body)
        question = fill(turn(documents["questions"], number), topic=topic)
        arguments = json.dumps({"text": topic})
        call = {"id": "call_1", "type": "function", "function": {"name": "find_notes", "arguments": arguments}}
        messages = (
            user(question),
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        )
        form = f"result {number // 2 % len(results) + 1}"
        made.append(Attack(f"{name}-{number:03}", name, messages, says(canary), form=form, tools=TOOLS))
    return made


def _spoken() -> list[str]:
    return list(load_cases("injection")["orders"])


def _called() -> list[str]:
    return list(load_cases("tool_results")["calls"])


RESULTS = AttackSuite("tool_results", partial(_attacks, name="tool_results", orders=_spoken))
CALLS = AttackSuite("tool_calls", partial(_attacks, name="tool_calls", orders=_called))
