"""The service as a process: its signals, its limits under real concurrency, and OpenAI's own library as the client."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from sluice.app.bundle import Bundle
from sluice.app.server import serve
from sluice.core.errors import SluiceError
from sluice.core.processes import free_port, wait_until
from sluice.retrieval.stores import Stores

pytestmark = pytest.mark.usefixtures("loopback")

ROOT = Path(__file__).parents[3]
STORES = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "embedded"}}})
OVERLAP = "How much overlap do chunks have?"
FAST = "ScriptedChat(script=REPLIES)"
# A sentence every 0.3 s, ten of them.
SLOW = "ScriptedChat(script={'overlap': 'Sentence. ' * 10}, piece=10, delay=0.3)"
STUCK = "ScriptedChat(script={'overlap': 'Sentence. ' * 10}, piece=10, delay=30)"
BODY = {"messages": [{"role": "user", "content": OVERLAP}], "stream": True}


class Service:
    """A child process that serves the scripted release."""

    def __init__(self, chat: str, settings: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        code = f"from fakes import *; run_service({self.port}, {chat}, {settings})"
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        self.process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
        assert wait_until(lambda: self.status("/readyz") == 200 or self.process.poll() is not None, seconds=60)

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=2, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start_one(*arguments: str) -> Service:
        started.append(Service(*arguments))
        return started[-1]

    yield start_one
    for service in started:
        service.stop()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    running = Service(FAST)
    yield running
    running.stop()


class Reader(threading.Thread):
    """Reads one stream to its end."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.begun = threading.Event()
        self.text = ""
        self.start()

    def run(self) -> None:
        url = f"{self.service.url}/v1/chat/completions"
        try:
            with httpx.stream("POST", url, json=BODY, timeout=60, trust_env=False) as response:
                for line in response.iter_lines():
                    self.text += line + "\n"
                    self.begun.set()
        except httpx.TransportError as error:
            self.text += f"{type(error).__name__}\n"
        self.begun.set()


def test_on_sigterm_readyz_is_off_and_answers_in_progress_finish(start: Callable[..., Service]) -> None:
    service = start(SLOW)
    reader = Reader(service)
    assert reader.begun.wait(20)
    service.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: service.status("/readyz") == 503, seconds=1, every=0.05)
    assert service.status("/healthz") == 200
    late = Reader(service)
    reader.join(20)
    assert reader.text.count("Sentence.") == 10
    assert "[DONE]" in reader.text
    late.join(20)
    assert "[DONE]" in late.text
    assert service.process.wait(10) == 0


def test_an_answer_that_does_not_end_is_cut_when_the_time_is_up(start: Callable[..., Service]) -> None:
    service = start(STUCK, "drain_seconds=3")
    reader = Reader(service)
    assert wait_until(lambda: "sluice_in_flight" in _metrics(service) and 'ab"} 1.0' in _metrics(service), seconds=10)
    started = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(10) == 0
    assert 2 <= time.monotonic() - started <= 5
    reader.join(10)
    assert "[DONE]" not in reader.text


def _metrics(service: Service) -> str:
    page = httpx.get(f"{service.url}/metrics", trust_env=False).text
    return "\n".join(line for line in page.splitlines() if line.startswith("sluice_in_flight"))


def test_one_too_many_at_the_same_time_is_refused(start: Callable[..., Service]) -> None:
    service = start(SLOW, "limits={'max_body_bytes': 1024, 'max_concurrent': 1}")
    reader = Reader(service)
    assert reader.begun.wait(20)
    refused = httpx.post(f"{service.url}/v1/chat/completions", json=BODY, trust_env=False)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    reader.join(20)
    assert "[DONE]" in reader.text
    # Idle: it ends within a moment.
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(5) == 0


@pytest.fixture
def client(service: Service) -> openai.OpenAI:
    http_client, unused = httpx.Client(trust_env=False), "none"
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=unused, max_retries=0, http_client=http_client)


def test_the_openai_library_reads_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="sluice", messages=[{"role": "user", "content": OVERLAP}])
    assert answer.choices[0].message.content == "64 tokens"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 13
    assert answer.model_extra is not None
    assert answer.model_extra["release"] == "r-0123456789ab"
    assert answer.model_extra["citations"][0]["document"] == "chunking"


def test_the_openai_library_reads_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sluice",
        messages=[{"role": "user", "content": OVERLAP}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "64 tokens"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_the_openai_library_knows_our_errors_and_models(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="only one answer") as raised:
        client.chat.completions.create(model="sluice", messages=[{"role": "user", "content": OVERLAP}], n=2)
    assert raised.value.param == "n"
    assert [model.id for model in client.models.list()] == ["sluice"]
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="sluice", messages=[{"role": "user", "content": "not scripted"}])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.org"])
def test_other_addresses_than_loopback_are_refused_without_keys(bundle: Bundle, tmp_path: Path, host: str) -> None:
    for keyless in (False, True):
        with pytest.raises(SluiceError, match=r"keys") as raised:
            serve(bundle, host, free_port(), stores=STORES, state=tmp_path, keyless=keyless)
        assert "--host 127.0.0.1" in raised.value.remedy


def test_a_taken_port_is_told_before_loading(bundle: Bundle, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SluiceError, match=f"{port}: the port is already taken"):
            serve(bundle, "127.0.0.1", port, stores=STORES, state=tmp_path)


def test_a_bad_fault_is_told_before_loading(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="no fault 'slow'"):
        serve(bundle, "127.0.0.1", free_port(), stores=STORES, state=tmp_path, fault="slow=1")


def test_a_release_with_a_missing_model_is_told(bundle: Bundle, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    broken = dataclasses.replace(bundle, model=tmp_path / "gone.gguf")
    try:
        with pytest.raises(SluiceError, match=r"gone\.gguf: the model file is missing"):
            serve(broken, "127.0.0.1", free_port(), stores=STORES, state=tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
