"""A client that goes away: the service, on a real socket, closes its connection to the provider."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from sluice.core.processes import free_port
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from support.providers.clients import chat_over
from support.providers.server import Upstream, upstream
from support.serving.fakes import HITS, NoChecks, ScriptedRetriever, scripted_bundle

ROUNDS = 2  # of each of the four ways
LIMITS = {"max_body_bytes": 4096, "max_concurrent": 64}
LLM = {"threads": 1, "slots": 2, "context": 2048, "timeout_seconds": 3600}
OVERLAP = "How much overlap do chunks have?"


class Service:
    """The whole application in a thread, over one provider."""

    def __init__(self, provider: Upstream) -> None:
        self.port = free_port()
        bundle, self.traffic = scripted_bundle(limits=LIMITS, llm=LLM), TrafficState()
        timeouts = {"connect": 60, "queue": 60, "first_token": 3600}
        chat = chat_over([provider], {"max_concurrency": 64, "timeouts": timeouts})
        chain = ApplicationRunner(bundle, chat, ScriptedRetriever(HITS), NoChecks())
        app = create_app(bundle, chain, self.traffic)
        self._server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_config=None, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Service:
        self._thread.start()
        until = time.monotonic() + 60
        while not self._server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def ask(self, *, stream: bool) -> socket.socket:
        body = json.dumps({"messages": [{"role": "user", "content": OVERLAP}], "stream": stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        connection.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body)
        return connection


@pytest.fixture
def provider(loopback: None) -> Iterator[Upstream]:  # noqa: ARG001 - it opens loopback
    with upstream() as running:
        yield running


def nth_asked(provider: Upstream, number: int) -> threading.Event:
    """Waits until the provider has got its n-th request; gives the event that its client has gone."""
    until = time.monotonic() + 60
    while len(provider.asked) < number:
        assert time.monotonic() < until
        time.sleep(0.002)
    return provider.asked[number - 1].gone


def read_a_sentence(connection: socket.socket) -> None:
    """So that the reply is under way."""
    received = b""
    while b"64 tokens." not in received:
        received += connection.recv(65536)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("script", ["hang", "hang_in_stream"])
def test_every_client_that_goes_frees_the_provider(provider: Upstream, script: str, stream: bool) -> None:
    provider.script = [script]
    with Service(provider) as service:
        for number in range(1, ROUNDS + 1):
            connection = service.ask(stream=stream)
            gone = nth_asked(provider, number)
            if script == "hang_in_stream":
                read_a_sentence(connection) if stream else time.sleep(0.02)
            assert not gone.is_set()
            connection.close()
            assert gone.wait(60), f"client {number} is still being answered"
        until = time.monotonic() + 60
        while service.traffic.in_flight:
            assert time.monotonic() < until, "a request that nobody waits for is still in flight"
            time.sleep(0.01)
