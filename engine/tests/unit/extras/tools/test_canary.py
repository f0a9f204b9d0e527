import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.data.rows import Row
from sluice.evaluation.comparison_policy import load_policy
from sluice.llm.chat import Delta, Messages, Usage
from sluice.rollout.canary_quality import ReleaseClient, compare_served
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from support.serving.fakes import DECLINE

from .conftest import Scene, call_delta
from .server import running

pytestmark = [pytest.mark.usefixtures("loopback"), pytest.mark.timeout(1800)]

WORDS = ("quince", "plum", "mango", "citations", "budgets", "token")
ROWS = [
    Row.model_validate(
        {
            "id": f"t-{number}",
            "question": f"Which tickets are about {WORDS[number % 6]}? ({number})",
            "answers": ["One ticket is open."],
            "doc_ids": [],
            "expect": {
                "answer_key": [["ticket"]],
                "tools": {"calls": [{"tool": "find_tickets", "args": {"text": WORDS[number % 6]}}]},
            },
        }
    )
    for number in range(30)
]


class TicketChat:
    """Calls the tool for the word of the question, then answers whatever the tool has said."""

    async def stream(self, messages: Messages, *_: Any, **__: Any) -> AsyncGenerator[Delta, None]:
        if messages[-1]["role"] == "tool":
            yield Delta("One ticket is open.")
            yield Delta(finish_reason="stop", usage=Usage(10, 4))
            return
        word = next(word for word in WORDS if word in messages[-1]["content"])
        yield call_delta("find_tickets", json.dumps({"text": word}), 0, "c")
        yield Delta(finish_reason="tool_calls", usage=Usage(10, 4))


async def broken(*_: Any) -> str:
    raise ConnectionError("the system behind it is gone")


def test_a_canary_with_a_broken_tool_is_worse_by_its_calls_alone(scene: Callable[..., Scene], root: Path) -> None:
    def app(release: str, call: Any = None) -> Any:
        made = scene(chat=TicketChat())
        if call:
            made.agent.tools["find_tickets"].call = call  # type: ignore[method-assign]
        return create_app(replace(made.bundle, release=release), made.runner, TrafficState())

    policy = load_policy(root / "config" / "gates.yaml")
    with running(app("r-000000000001")) as stable, running(app("r-000000000002", broken)) as canary:
        sides = (ReleaseClient(stable, DECLINE, 60), ReleaseClient(canary, DECLINE, 60))
        found = compare_served(*sides, ROWS, policy, concurrency=2)
    worse = [metric.name for metric in found.deciding if metric.verdict == "worse"]
    assert (found.passed, worse) == (False, ["tool_calls"]), "its answers are the same"
    notes = {note for change in found.cases for note in change.notes}
    assert len(notes) == 6
    assert all(note.startswith("trajectories part at call 1: find_tickets") for note in notes)
    assert all(note.endswith("(failed)") for note in notes)
