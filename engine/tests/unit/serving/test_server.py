import asyncio
import dataclasses
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port, wait_until
from sluice.retrieval.stores import Stores
from sluice.serving import middleware
from sluice.serving.api_keys import add_key, revoke_key
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.server import serve
from support.libraries import Library
from support.serving.process import FAST, Service

pytestmark = pytest.mark.usefixtures("loopback")

STORES = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "embedded"}}})
OVERLAP = "How much overlap do chunks have?"
STUCK = "ScriptedChat(script={'overlap': 'Sentence. ' * 10}, piece=10, delay=3600)"
QUESTION = {"messages": [{"role": "user", "content": OVERLAP}]}
BODY = {**QUESTION, "stream": True}


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Service(*arguments))


def test_readyz_is_off_while_requests_are_still_taken(start: Callable[..., Service]) -> None:
    """A proxy that looks at /readyz every few seconds still sends requests; none may be refused while notice lasts."""
    service = start(FAST, "notice_seconds=600, drain_seconds=700")
    assert service.status("/readyz") == 200
    service.process.send_signal(signal.SIGTERM)
    answers = []

    def off() -> bool:
        ready = service.status("/readyz")
        answers.append(httpx.post(f"{service.url}/v1/chat/completions", json=QUESTION, trust_env=False, timeout=60))
        return ready == 503

    assert wait_until(off, seconds=60, every=0.05)
    for _ in range(10):
        assert off()
    assert {answer.status_code for answer in answers} == {service.status("/healthz")} == {200}
    assert {answer.headers["connection"] for answer in answers[-10:]} == {"close"}
    assert service.process.poll() is None


def test_a_service_that_stood_still_is_not_taken_for_one_that_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came meanwhile waits to be taken in."""
    now = [1000.0]
    monkeypatch.setattr(middleware, "time", SimpleNamespace(monotonic=lambda: now[0]))
    traffic = TrafficState()
    traffic.drain()

    def drained(at: float, at_most: float = 60) -> bool:
        now[0] = 1000 + at
        return traffic.drained(1, at_most)

    assert [drained(at) for at in (0.25, 0.5, 0.75, 1.0, 1.25)] == [False, False, False, False, True]
    assert [drained(at) for at in (10, 10.25, 10.5, 10.75, 11)] == [False, False, False, False, True]
    assert drained(20, at_most=15)


def test_a_person_at_a_terminal_does_not_wait_for_proxies(start: Callable[..., Service]) -> None:
    service = start(FAST, "notice_seconds=600, drain_seconds=700")
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(60) in (0, -signal.SIGINT)


def test_an_answer_that_does_not_end_is_cut_when_the_time_is_up(start: Callable[..., Service]) -> None:
    service = start(STUCK, "drain_seconds=3")

    def answering() -> bool:
        page = httpx.get(f"{service.url}/metrics", trust_env=False, timeout=60).text
        return re.search(r"^sluice_in_flight\{.*\} 1\.0$", page, re.MULTILINE) is not None

    with ThreadPoolExecutor(1) as caller:
        url = f"{service.url}/v1/chat/completions"
        answer = caller.submit(httpx.post, url, json=BODY, timeout=240, trust_env=False)
        assert wait_until(answering, seconds=60)
        started = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        assert time.monotonic() - started >= 2
        assert answer.result(60).status_code == 500


def test_with_keys_other_addresses_are_served(bundle: ReleaseBundle, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "web", tenant=None, scopes=["chat"], rate=1)
    gone = dataclasses.replace(bundle, model=tmp_path / "gone.gguf")
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SluiceError, match=r"gone\.gguf"):  # so far it comes: the keys are enough
            serve(gone, "0.0.0.0", free_port(), stores=STORES, state=tmp_path)
        revoke_key(tmp_path / "keys.json", "web")
        with pytest.raises(SluiceError, match="has none in force"):
            serve(gone, "0.0.0.0", free_port(), stores=STORES, state=tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org"])
def test_other_addresses_are_refused_without_keys(bundle: ReleaseBundle, tmp_path: Path, host: str) -> None:
    for keyless in (False, True):
        with pytest.raises(SluiceError, match=r"keys") as raised:
            serve(bundle, host, free_port(), stores=STORES, state=tmp_path, keyless=keyless)
        assert "--host 127.0.0.1" in raised.value.remedy


def test_a_taken_port_is_told_before_loading(bundle: ReleaseBundle, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SluiceError, match=f"{port}: the port is already taken"):
            serve(bundle, "127.0.0.1", port, stores=STORES, state=tmp_path)


@pytest.mark.parametrize("name", ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"])
def test_langsmith_is_off(bundle: ReleaseBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(SluiceError, match="no fault 'slow'"):
        serve(bundle, "127.0.0.1", free_port(), stores=STORES, state=tmp_path, fault="slow=1")
    assert name not in os.environ


STREAMS = 50


async def stream_all(service: Service, gate: Path) -> list[str]:
    """The texts of all streams; the signal is sent while every one of them is open, and they end after it."""
    begun = asyncio.Semaphore(0)

    async def one() -> str:
        text = ""
        async with client.stream("POST", f"{service.url}/v1/chat/completions", json=BODY) as response:
            async for line in response.aiter_lines():
                if not text:
                    begun.release()
                text += line
        return text

    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:
        streams = [asyncio.ensure_future(one()) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await asyncio.wait_for(begun.acquire(), 120)
        assert not any(stream.done() for stream in streams), "a stream ended before the signal was sent"
        service.process.send_signal(signal.SIGTERM)
        gate.touch()
        return await asyncio.gather(*streams)


@pytest.mark.real
def test_no_stream_is_cut(start: Callable[..., Service], tmp_path: Path) -> None:
    gate = tmp_path / "gate"  # no stream ends before it is there
    chat = f"ScriptedChat(script={{'overlap': 'Sentence. ' * 8}}, piece=10, delay=0.01, gate=Path({str(gate)!r}))"
    limits = "limits={'max_body_bytes': 4096, 'max_concurrent': 64}, notice_seconds=0, drain_seconds=600"
    service = start(chat, limits)
    texts = asyncio.run(stream_all(service, gate))
    assert [text[-200:] for text in texts if text.count("Sentence.") != 8 or "[DONE]" not in text] == []
    assert service.process.wait(60) == 0


openai = Library("openai")


def test_the_openai_library_reads_every_reply(start: Callable[..., Service], tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys.json", "tests", tenant=None, scopes=["chat", "feedback"], rate=600)
    service = start(FAST, f"state={str(tmp_path)!r}")
    http_client = httpx.Client(trust_env=False, timeout=240)
    client: Any = openai.OpenAI(base_url=f"{service.url}/v1", api_key=secret, max_retries=0, http_client=http_client)
    ask = {"model": "sluice", "messages": [{"role": "user", "content": OVERLAP}]}
    answer = client.chat.completions.create(**ask)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("64 tokens", "stop")
    assert answer.usage.total_tokens == 13
    assert answer.model_extra["release"] == "r-0123456789ab"
    assert answer.model_extra["citations"][0]["document"] == "chunking"
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "64 tokens"
    assert chunks[-1].usage.completion_tokens == 2
    assert [model.id for model in client.models.list()] == ["sluice"]
    with pytest.raises(openai.BadRequestError, match="only one answer") as raised:
        client.chat.completions.create(**ask, n=2)
    assert raised.value.param == "n"
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**ask | {"messages": [{"role": "user", "content": "not scripted"}]})
