"""Two replicas over one PostgreSQL, the real server: one has asked, the other goes on, and what was approved is done
once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port
from sluice.extras.tools.approvals import DecisionError
from sluice.retrieval.stores import StoreSpec, open_store

from .conftest import OPEN, Scene, run, tickets

pytestmark = [pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore::UserWarning")]

Made = Callable[..., Scene]
SETTINGS = {"says": "{actions} {approval}", "expire_seconds": 900, "database_env": "TEST_APPROVALS"}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("langgraph.checkpoint.postgres", reason="the lock of this environment has no such package yet")
    with open_store(StoreSpec(kind="embedded"), tmp_path / "state") as address:
        monkeypatch.setenv("TEST_APPROVALS", address)
        yield address


@pytest.mark.usefixtures("database")
def test_one_asks_and_another_goes_on(scene: Made, world: sqlite3.Connection) -> None:
    first, second = (scene([OPEN], "Ticket 4 is open.", approvals=SETTINGS) for _ in range(2))
    second.chat.replies = ["Ticket 4 is open."]

    async def talk() -> None:
        name = str((await first.ask()).steps[0]["approval"])
        assert [one.id for one in await second.agent.approvals.all(None)] == [name]
        answer = await second.decide(name)
        assert (answer.text, answer.steps[0]["outcome"]) == ("Ticket 4 is open.", "done")
        assert (await first.agent.approvals.find(name, None)).actions[0]["state"] == "done"
        with pytest.raises(DecisionError, match="this approval is approved"):
            await first.decide(name)

    run(talk())
    assert tickets(world)[3:] == ["Citations are lost"]


@pytest.mark.usefixtures("database")
def test_of_many_who_decide_at_once_one_is_heard(scene: Made, world: sqlite3.Connection) -> None:
    replicas = [scene([OPEN], "Done.", approvals=SETTINGS) for _ in range(2)]
    for one in replicas:
        one.chat.replies = ["Done."]
    replicas[0].chat.replies = [[OPEN], "Done."]

    async def decide(made: Scene, name: str, approve: bool) -> Any:
        try:
            return await made.decide(name, approve=approve)
        except DecisionError:
            return None

    async def talk() -> list[Any]:
        name = str((await replicas[0].ask()).steps[0]["approval"])
        tries = [decide(replicas[number % 2], name, number % 3 > 0) for number in range(8)]
        return [found for found in await asyncio.gather(*tries) if found]

    (answer,) = run(talk())
    written = len(tickets(world)) - 3
    assert written == sum(step["outcome"] == "done" for step in answer.steps)
    assert written <= 1


def test_a_database_that_is_not_named_is_said(scene: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_APPROVALS", raising=False)
    with pytest.raises(SluiceError, match="the variable TEST_APPROVALS is not set"):
        scene("Hello.", approvals=SETTINGS)


@pytest.mark.usefixtures("loopback")
def test_a_database_that_does_not_answer_is_said(scene: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_APPROVALS", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(SluiceError, match=r"approvals\.database_env: no answer"):
        scene("Hello.", approvals=SETTINGS)
