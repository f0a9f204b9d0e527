"""Locust in a process of its own: importing it replaces parts of the standard library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sluice.core.processes import free_port
from starter_files import GATES, LOCUSTFILE

ROOT = Path(__file__).parents[4]


def _python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "engine" / "src"), str(LOCUSTFILE.parent)])
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": paths, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _locust(**env: str) -> subprocess.CompletedProcess[str]:
    return _python("-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", **env)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Why?"}\n')
    nobody = f"http://127.0.0.1:{free_port()}"
    return {
        **{f"SLUICE_{name}_URL": nobody for name in ("ROUTER", "CANARY", "STABLE")},
        "SLUICE_QUESTIONS": str(questions),
        "SLUICE_GATES": str(GATES),
        "SLUICE_LOAD_OUT": str(tmp_path / "out.json"),
        "SLUICE_LOAD_USERS": "2",
        "SLUICE_LOAD_DURATION": "1s",
        "SLUICE_LOAD_SHAPE": "steady",
        "SLUICE_LOAD_TIMEOUT": "2s",
    }


def test_without_stable_nothing_is_measured(env: dict[str, str], tmp_path: Path) -> None:
    ended = _locust(**env)
    assert ended.returncode == 2
    assert "/version: stable does not answer" in ended.stderr
    assert not (tmp_path / "out.json").exists()


_TICKS = """
import importlib, json, sys
from types import SimpleNamespace
name, times = sys.argv[1], json.loads(sys.argv[2])
shape = getattr(importlib.import_module(f"shapes.{name}"), name.capitalize())()
shape.stage = SimpleNamespace(users=5, seconds=40.0, over=lambda at: at >= 40)
ticks = []
for at in times:
    shape.get_run_time = lambda: at
    tick = shape.tick()
    ticks.append(tick and tick[0])
print(json.dumps(ticks))
"""


@pytest.mark.parametrize(("name", "users"), [("steady", [5, 5, 5, 5, 5, None]), ("staircase", [2, 3, 4, 5, 5, None])])
def test_shapes(name: str, users: list[int | None]) -> None:
    ended = _python("-c", _TICKS, name, json.dumps([0, 10, 20, 30, 39.9, 40]))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == users


_ASKS = """
import sys
from locust import FastHttpUser
from locust.env import Environment
from sluice.extend import ask
class User(FastHttpUser):
    host = sys.argv[1]
    network_timeout = 120.0
user = User(Environment(user_classes=[User]))
for _ in range(3):
    print(ask(user, sys.argv[1], "Why?", "canary").error or "answered")
"""


class _Once(BaseHTTPRequestHandler):
    """Answers once for each connection without saying so, and drops what else comes: a server that is closing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = False  # http.server obeys the header `Connection: close`; not all do
        if getattr(self, "answered", False):
            self.close_connection = True
            return
        self.answered = True
        self.rfile.read(int(self.headers["content-length"]))
        event = b'data: {"choices": [{"delta": {"content": "So."}}]}\n\ndata: [DONE]\n\n'
        self.send_response(200)
        self.send_header("x-sluice-release", "r-canary")
        self.send_header("content-length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_no_question_is_put_on_a_connection_that_was_used_before() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Once)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        ended = _python("-c", _ASKS, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert (ended.stdout.splitlines(), ended.returncode) == (["answered"] * 3, 0), ended.stderr
