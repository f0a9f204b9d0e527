"""Approvals over HTTP, in one process and of two replicas over a real PostgreSQL; and random models and people."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port
from sluice.extras.tools.approvals import Approvals, DecisionError
from sluice.retrieval.stores import StoreSpec, open_store
from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState

from .conftest import OPEN, QUESTION, Scene, run, tickets
from .fuzz import WAYS, FuzzedChat, Fuzzer


class Service:
    """The service of a scene, with keys of two tenants."""

    def __init__(self, made: Scene, state: Path) -> None:
        file = state / "keys.json"
        ways = [(who, scope) for who in ("one", "two") for scope in ("chat", "approve")]
        self.keys = {
            (who, scope): add_key(file, f"{who}-{scope}", tenant=who, scopes=[scope], rate=600) for who, scope in ways
        }
        self._app: ASGIApp = create_app(made.bundle, made.runner, TrafficState(), keys=KeyRing(file))

    async def send(self, way: str, path: str, who: str = "one", scope: str = "approve", **given: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, client=("127.0.0.1", 1))
        headers = {"authorization": f"Bearer {self.keys[who, scope]}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            return await client.request(way, path, **given)

    async def ask(self) -> str:
        body = {"messages": [{"role": "user", "content": QUESTION}]}
        reply = (await self.send("POST", "/v1/chat/completions", scope="chat", json=body)).json()
        (step,) = reply["steps"]
        assert (step["name"], step["outcome"]) == ("open_ticket", "pending")
        message = reply["choices"][0]["message"]["content"]
        assert step["approval"] in message
        assert "Citations are lost" in message
        return str(step["approval"])

    async def decide(self, name: str, decision: str = "approve", **who: str) -> httpx.Response:
        return await self.send("POST", f"/v1/approvals/{name}", json={"decision": decision}, **who)


@pytest.fixture
def served(scene: Made, tmp_path: Path) -> Callable[..., tuple[Scene, Service]]:
    def make(*replies: Any, **changes: Any) -> tuple[Scene, Service]:
        made = scene(*(replies or ([OPEN], "Ticket 4 is open.")), **changes)
        return made, Service(made, tmp_path)

    return make


def test_it_is_listed_and_approved_once(served: Any, world: sqlite3.Connection) -> None:
    made, service = served()

    async def talk() -> None:
        name = await service.ask()
        assert (len(tickets(world)), len(made.chat.seen)) == (3, 1)
        (listed,) = (await service.send("GET", "/v1/approvals")).json()["data"]
        action = {"tool": "open_ticket", "args": OPEN[1], "state": "pending"}
        assert (listed["id"], listed["state"], listed["actions"]) == (name, "pending", [action])
        reply = await service.decide(name)
        assert (reply.status_code, reply.json()["answer"]) == (200, "Ticket 4 is open.")
        (key,) = world.execute("SELECT key FROM tickets WHERE id = 4").fetchone()
        assert key == f"{name}-0"
        assert (reply.json()["decided_by"], reply.json()["actions"][0]["state"]) == ("one-approve", "done")
        again = await service.decide(name, "deny")
        assert (again.status_code, "decided" in again.json()["error"]["message"]) == (409, True)
        assert (await service.send("GET", f"/v1/approvals/{name}")).json()["state"] == "approved"

    run(talk())
    assert tickets(world)[3:] == ["Citations are lost"]


def test_who_asks_may_not_approve_and_a_tenant_sees_only_its_own(served: Any, world: sqlite3.Connection) -> None:
    _, service = served()

    async def talk() -> None:
        name = await service.ask()
        assert (await service.decide(name, scope="chat")).status_code == 403
        assert (await service.send("GET", "/v1/approvals", scope="chat")).status_code == 403
        assert (await service.decide(name, who="two")).status_code == 404
        assert (await service.send("GET", f"/v1/approvals/{name}", who="two")).status_code == 404
        assert (await service.send("GET", "/v1/approvals", who="two")).json()["data"] == []
        assert (await service.decide("0" * 32)).status_code == 404
        assert (await service.send("POST", f"/v1/approvals/{name}", json={"decision": "maybe"})).status_code == 400

    run(talk())
    assert len(tickets(world)) == 3


def test_what_has_expired_is_not_approved(served: Any, world: sqlite3.Connection) -> None:
    says = {"says": "{actions} {approval}", "expire_seconds": 1e-9}
    made, service = served([OPEN], approvals=says)

    async def talk() -> None:
        name = await service.ask()
        reply = await service.decide(name)
        assert (reply.status_code, reply.json()["error"]["message"]) == (409, "this approval is expired")
        await service.ask()  # the next one clears up what has expired
        assert not await made.agent.waits((await made.agent.approvals.find(name, "one")).thread)

    run(talk())
    assert len(tickets(world)) == 3


def test_another_release_does_not_go_on(served: Any, world: sqlite3.Connection) -> None:
    made, service = served()

    async def talk() -> httpx.Response:
        name = await made.agent.approvals.ask("t", [OPEN], release="r-other", tenant="one", conversation=[])
        return await service.decide(name)

    assert run(talk()).status_code == 409
    assert len(tickets(world)) == 3


def test_a_caller_who_brings_tools_gets_no_others(served: Any) -> None:
    made, service = served("Fine.")
    given = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    body = {"messages": [{"role": "user", "content": QUESTION}], "tools": [given]}
    reply = run(service.send("POST", "/v1/chat/completions", scope="chat", json=body))
    assert reply.status_code == 200
    assert [one["function"]["name"] for one in made.chat.parameters[0].model_dump()["tools"]] == ["mine"]


@pytest.mark.parametrize("end", ["approve", "deny", "withdraw", "expire"])
def test_what_was_said_is_kept_no_longer_than_it_waits(end: str) -> None:
    approvals = Approvals("", seconds=0 if end == "expire" else 60)

    async def talk() -> None:
        said = [{"role": "user", "content": QUESTION}]
        name = await approvals.ask("thread", [OPEN], release="r", tenant=None, conversation=said)
        assert (await approvals.find(name, None)).conversation == said
        if end == "withdraw":
            await approvals.withdraw("thread")
        elif end == "expire":
            assert await approvals.expire() == ["thread"]
        else:
            decided = await approvals.decide(name, None, approve=end == "approve", by="key", reason="", release="r")
            assert decided.conversation == said
        left = await approvals.find(name, None)
        assert (left.conversation, len(left.actions)) == ([], 1)

    run(talk())


Made = Callable[..., Scene]
SHARED = {"says": "{actions} {approval}", "expire_seconds": 900, "database_env": "TEST_APPROVALS"}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("langgraph.checkpoint.postgres", reason="the lock of this environment has no such package yet")
    with open_store(StoreSpec(kind="embedded"), tmp_path / "state") as address:
        monkeypatch.setenv("TEST_APPROVALS", address)
        yield address


@pytest.mark.usefixtures("database")
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_asks_and_another_goes_on(scene: Made, world: sqlite3.Connection) -> None:
    first, second = (scene(*replies, "Ticket 4 is open.", approvals=SHARED) for replies in ([[OPEN]], []))

    async def talk() -> None:
        name = str((await first.ask()).steps[0]["approval"])
        assert [one.id for one in await second.agent.approvals.all(None)] == [name]
        answer = await second.decide(name)
        assert (answer.text, answer.steps[0]["outcome"]) == ("Ticket 4 is open.", "done")
        assert (await first.agent.approvals.find(name, None)).actions[0].state == "done"
        with pytest.raises(DecisionError, match="this approval is approved"):
            await first.decide(name)

    run(talk())
    assert tickets(world)[3:] == ["Citations are lost"]


@pytest.mark.usefixtures("database")
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_many_who_decide_at_once_one_is_heard(scene: Made, world: sqlite3.Connection) -> None:
    replicas = [scene(*replies, "Done.", approvals=SHARED) for replies in ([[OPEN]], [])]

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
        scene("Hello.", approvals=SHARED)


@pytest.mark.usefixtures("loopback")
def test_a_database_that_does_not_answer_is_said(scene: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_APPROVALS", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(SluiceError, match=r"approvals\.database_env: no answer"):
        scene("Hello.", approvals=SHARED)


def test_nothing_is_written_that_nobody_approved(scene: Made, world: sqlite3.Connection) -> None:
    generator = random.Random(1)
    fuzzer = Fuzzer(scene(chat=FuzzedChat(generator)), generator)

    async def talk() -> None:
        for _ in range(100):
            await fuzzer.run(world)

    run(talk())
    assert fuzzer.unapproved == []
    assert all(fuzzer.events[way] for way in (*WAYS, "written", "call unapproved", "refused with 409"))
