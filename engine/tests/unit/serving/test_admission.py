import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.serving.admission import AdmissionQueue
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import ScriptedChat, scripted_bundle
from unit.serving.client import CHAT, OVERLAP, Client

BODY = json.dumps({"messages": [{"role": "user", "content": OVERLAP}]}).encode()
MakeChain = Callable[[ScriptedChat], ApplicationRunner]


@pytest.fixture
def make_app(make_chain: MakeChain, traffic: TrafficState) -> Callable[..., Any]:
    """The service with these limits; answers wait for the file `gate`."""

    def make(gate: Path | None = None, model: ScriptedChat | None = None, **limits: Any) -> Any:
        bundle = scripted_bundle(limits={"max_body_bytes": 4096, "max_concurrent": 2, "queue_seconds": 600} | limits)
        chat = model or ScriptedChat(script={"overlap": "64 tokens"}, piece=100, gate=gate)
        return create_app(bundle, make_chain(chat), traffic)

    return make


class Call:
    """One request at the level of ASGI; `leave` is what a server says when the client has gone."""

    def __init__(self, app: Any, body: bytes = BODY, *, whole: bool = True, ask: str = f"POST {CHAT}") -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": not whole})
        self.sent: list[dict[str, Any]] = []
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        method, path = ask.split()
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": headers}
        scope |= {"query_string": b"", "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.3"}}
        self.task = asyncio.ensure_future(app(scope, self._messages.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        await asyncio.sleep(0)

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


async def waiting(app: Any) -> int:
    """The length of the line, as /metrics shows it."""
    page = Call(app, b"", ask="GET /metrics")
    await page.task
    found = re.search(rb"^sluice_queue_length\{.*\} (\S+)$", page.sent[1]["body"], re.MULTILINE)
    assert found
    return int(float(found[1]))


async def until_waiting(app: Any, many: int) -> None:
    async with asyncio.timeout(60):
        while await waiting(app) != many:
            await asyncio.sleep(0.005)


def test_beyond_places_and_line_it_is_503(make_app: Callable[..., Any], traffic: TrafficState, tmp_path: Path) -> None:
    async def play() -> None:
        app = make_app(gate=tmp_path / "gate", max_queued=3)
        admitted = [Call(app) for _ in range(5)]
        await until_waiting(app, 3)
        shed = [Call(app) for _ in range(20)]
        await asyncio.wait([call.task for call in shed])
        assert not any(call.task.done() for call in admitted)  # refused while all others still wait
        assert {call.status for call in shed} == {503}
        headers = dict(shed[0].sent[0]["headers"])
        assert headers[b"retry-after"] == b"600", "when whoever waits now has an answer or a refusal"
        assert json.loads(shed[0].sent[1]["body"])["error"]["code"] == "overloaded"
        (tmp_path / "gate").touch()
        await asyncio.gather(*(call.task for call in admitted))
        assert [call.status for call in admitted] == [200] * 5
        assert (traffic.in_flight, await waiting(app)) == (0, 0)
        again = Call(app)
        await again.task
        assert again.status == 200

    asyncio.run(play())


def test_the_wait_in_the_line_has_an_end(make_app: Callable[..., Any], traffic: TrafficState, tmp_path: Path) -> None:
    async def play() -> None:
        app = make_app(gate=tmp_path / "gate", max_concurrent=1, max_queued=1, queue_seconds=0.1)
        first = Call(app)
        await until(lambda: traffic.in_flight == 1)
        second = Call(app)
        await second.task
        assert second.status == 503
        assert traffic.in_flight == 1
        first.leave()
        await first.task

    asyncio.run(play())


def test_no_place_is_lost_when_those_in_the_line_give_up() -> None:
    async def play() -> None:
        queue = AdmissionQueue(2, 100)

        async def one(number: int) -> None:
            if await queue.take(0.001 * (number % 7)):
                try:  # on a busy machine the cancellation below meets those who have a place as well
                    await asyncio.sleep(0.001 * (number % 5))
                finally:
                    queue.free()

        tasks = [asyncio.ensure_future(one(number)) for number in range(100)]
        await asyncio.sleep(0.005)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(play())


@pytest.mark.parametrize(("stream", "status"), [(b"true", 200), (b"false", 499)])
def test_a_gone_caller_ends_it(make_app: Callable[..., Any], traffic: TrafficState, stream: bytes, status: int) -> None:
    async def play() -> None:
        model = ScriptedChat(script={"overlap": "Sentence. " * 100}, piece=10, delay=0.05)
        call = Call(make_app(model=model), BODY[:-1] + b', "stream": ' + stream + b"}")
        await until(lambda: len(model.sent) >= 2)
        call.leave()
        await call.task
        given = len(model.sent)
        await asyncio.sleep(0.2)
        assert (len(model.sent), traffic.in_flight, call.status) == (given, 0, status)

    asyncio.run(play())


def test_a_caller_who_goes_leaves_the_line(make_app: Callable[..., Any], traffic: TrafficState, tmp_path: Path) -> None:
    async def play() -> None:
        app = make_app(gate=tmp_path / "gate", max_concurrent=1, max_queued=1)
        first = Call(app)
        await until(lambda: traffic.in_flight == 1)
        second = Call(app)
        await until_waiting(app, 1)
        second.leave()
        await second.task
        assert (await waiting(app), second.status) == (0, 499)
        third = Call(app)  # the stand in the line is free again
        await until_waiting(app, 1)
        (tmp_path / "gate").touch()
        await asyncio.gather(first.task, third.task)
        assert (first.status, third.status) == (200, 200)

    asyncio.run(play())


def test_a_server_that_says_gone_after_the_answer_changes_nothing(make_app: Callable[..., Any]) -> None:
    """uvicorn's receive returns as soon as the last byte is out, while the application still tidies up."""

    async def play() -> None:
        for stream in (b"", b', "stream": true'):
            call = Call(make_app(), BODY[:-1] + stream + b"}")
            await until(lambda call=call: bool(call.sent) and not call.sent[-1].get("more_body", False))
            call.leave()
            await call.task
            assert [message["type"] for message in call.sent].count("http.response.start") == 1
            assert call.status == 200

    asyncio.run(play())


@pytest.mark.parametrize("path", [CHAT, "/v1/feedback", "/no"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_is_413_on_every_path(make_app: Callable[..., Any], path: str, declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    model = ScriptedChat(script={})
    content: Any = b" " * 5000 if declared else pieces()
    headers = {"content-type": "application/json"}
    response: httpx.Response = Client(make_app(model=model)).send("POST", path, content=content, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    assert model.calls == []
