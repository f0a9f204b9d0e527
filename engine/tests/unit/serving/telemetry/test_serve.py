"""`serve` itself, in a process of its own, with everything but the model: what it logs and what it leaves on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sluice.core.processes import free_port, wait_until
from support.telemetry.recording import spooled

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


@pytest.mark.usefixtures("loopback")
def test_serve_logs_json_and_leaves_its_traces(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
    argv = [sys.executable, "-c", CODE, str(port), str(tmp_path / ".sluice"), str(ROOT / "config" / "telemetry.yaml")]
    with log.open("w") as stream:
        process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": path}, stderr=stream)
    try:
        assert wait_until(lambda: _ready(url) or process.poll() is not None, seconds=180), log.read_text()
        body = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}
        sampled = {"traceparent": f"00-{'0af76519' * 4}-{'b7ad6b71' * 2}-01"}
        chat = f"{url}/v1/chat/completions"
        reply = httpx.post(chat, json=body, headers=sampled, trust_env=False, timeout=240)
        unknown = httpx.post(chat, json=body | {"what": 1}, headers=sampled, trust_env=False, timeout=240)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
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


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
