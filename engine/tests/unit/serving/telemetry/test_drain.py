"""The end of a service process: what it knows is delivered, and a collector that hangs holds nothing up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sluice.core.processes import free_port, wait_until
from support.telemetry.collector import Collector

ROOT = Path(__file__).parents[5]
BODY = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}], "stream": True}
Start = Callable[..., tuple[str, "subprocess.Popen[bytes]"]]


@pytest.fixture
def start(collector: Collector) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start_one(
        delay: float = 0.0, settings: str = "", to: str = collector.url
    ) -> tuple[str, subprocess.Popen[bytes]]:
        port = free_port()
        call = f"run_traced_service({port}, '{to}/v1/traces', {delay}, {settings})"
        path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
        code = f"from support.telemetry.collector import run_traced_service; {call}"
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: _answers(f"{url}/readyz") or process.poll() is not None, seconds=180)
        return url, process

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_stream_that_ends_during_the_drain_is_delivered(start: Start, collector: Collector) -> None:
    url, process = start(delay=0.2)
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=BODY, timeout=240, trust_env=False) as response:
        lines = response.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert "[DONE]" in "".join(lines)
    assert process.wait(240) == 0
    assert len(collector.spans) == 6
    assert {span.trace_id.hex() for span in collector.spans} == {response.headers["x-sluice-trace"]}


def test_a_collector_that_hangs_does_not_hold_the_process(start: Start, collector: Collector) -> None:
    collector.turn("hang")
    url, process = start(settings="timeout_seconds=3600, flush_seconds=1")
    assert httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=240, trust_env=False).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 0
