"""Whole runs of the service: what it logs, what it leaves on disk, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.processes import free_port, wait_until
from sluice.guardrails.guards import Guards
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.telemetry.telemetry import ProcessFacts
from support.telemetry.collector import Collector
from support.telemetry.recording import spooled
from unit.serving.telemetry.seeded_people import MANY, left_of_people, serve_people

ROOT = Path(__file__).parents[5]
# The runtime is replaced by the scripted fakes; all else is the service.
CODE = """
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from support.serving.fakes import HITS, REPLIES, NoChecks, ScriptedChat, ScriptedRetriever, scripted_bundle
from sluice.serving import server
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.core.settings import load_settings
from sluice.retrieval.stores import Stores

class Ready(ApplicationRunner):
    async def warm_up(self):
        pass

@contextmanager
def open_runtime(bundle, stores, state):
    chat = ScriptedChat(script=REPLIES)
    application = Ready(bundle, chat, ScriptedRetriever(HITS), NoChecks())
    yield SimpleNamespace(application=application, chat=None)

server.open_runtime = open_runtime
stores = Stores.model_validate({"default": "x", "stores": {"x": {"kind": "embedded"}}})
told = load_settings(Path(sys.argv[3]), TelemetrySettings)
state = Path(sys.argv[2])
upgraded = replace(scripted_bundle(), other_code=("sluice/llm/provider_http.py", "sluice/serving/http_api.py"))
server.serve(upgraded, "127.0.0.1", int(sys.argv[1]), stores=stores, state=state, telemetry=told)
"""


BODY = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}
Start = Callable[..., tuple[str, "subprocess.Popen[bytes]"]]


@pytest.fixture
def start(loopback: None) -> Iterator[Start]:  # noqa: ARG001 - it opens the network to this machine
    """Starts code that serves at a port, which it gets as the first word; gives its address when it is ready."""
    started: list[subprocess.Popen[bytes]] = []

    def ready(url: str) -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def start_one(code: str, *words: str, log: Any = None) -> tuple[str, subprocess.Popen[bytes]]:
        port = free_port()
        path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
        argv = [sys.executable, "-c", code, str(port), *words]
        process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": path}, stderr=log)
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: ready(url) or process.poll() is not None, seconds=180)
        return url, process

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def traced(to: Collector, delay: float = 0.0, settings: str = "") -> str:
    call = f"run_traced_service(int(sys.argv[1]), '{to.url}/v1/traces', {delay}, {settings})"
    return f"import sys; from support.telemetry.collector import run_traced_service; {call}"


def test_serve_logs_json_and_leaves_its_traces(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        url, process = start(CODE, str(tmp_path / ".sluice"), str(ROOT / "config" / "telemetry.yaml"), log=stream)
    sampled = {"traceparent": f"00-{'0af76519' * 4}-{'b7ad6b71' * 2}-01"}
    chat = f"{url}/v1/chat/completions"
    reply = httpx.post(chat, json=BODY, headers=sampled, trust_env=False, timeout=240)
    unknown = httpx.post(chat, json=BODY | {"what": 1}, headers=sampled, trust_env=False, timeout=240)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    warning = lines.pop(0)
    assert warning["level"].lower() == "warning"
    assert "other code: 2 files differ, sluice/llm/provider_http.py first" in warning["message"]
    assert [(line["message"], line["status"], line["trace"]) for line in lines] == [
        ("request", 200, reply.json()["trace"]),
        ("request", 400, unknown.headers["x-sluice-trace"]),
    ]
    traces = tmp_path / ".sluice" / "traces"
    assert [path.suffix for path in traces.iterdir()] == [".jsonl"]
    assert len(spooled(traces)) == 6 + 1


def test_a_stream_that_ends_during_the_drain_is_delivered(start: Start, collector: Collector) -> None:
    url, process = start(traced(collector, delay=0.2))
    body = BODY | {"stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=240, trust_env=False) as response:
        lines = response.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert "[DONE]" in "".join(lines)
    assert process.wait(240) == 0
    assert len(collector.spans) == 6
    assert {span.trace_id.hex() for span in collector.spans} == {response.headers["x-sluice-trace"]}


def test_a_collector_that_hangs_does_not_hold_the_process(start: Start, collector: Collector) -> None:
    collector.turn("hang")
    url, process = start(traced(collector, settings="timeout_seconds=3600, flush_seconds=1"))
    assert httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=240, trust_env=False).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 0


def test_after_a_run_with_seeded_data_nothing_of_it_is_on_disk(
    bundle: ReleaseBundle, facts: ProcessFacts, guards: Guards, tmp_path: Path
) -> None:
    serve_people(tmp_path, bundle, facts, guards)
    spooled = "".join(path.read_text() for path in (tmp_path / ".sluice" / "traces").iterdir())
    assert spooled.count("[redacted: ") >= MANY  # contents are there, without what is personal
    assert len((tmp_path / "log").read_text().splitlines()) >= 2 * MANY
    assert left_of_people(tmp_path) == []
