"""Locust in a process of its own: importing it replaces parts of the standard library."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sluice.core.processes import free_port, start
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec
from starter_files import GATES, LOCUSTFILE, ROOT
from support.local_server import QuietHandler, local_server
from unit.rehearsal.conftest import stub

__all__ = ["stub"]  # a fixture

PATHS = os.pathsep.join([str(ROOT / "engine" / "src"), str(LOCUSTFILE.parent)])


def _python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": PATHS, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


LOCUST = ("-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary")


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
    ended = _python(*LOCUST, **env)
    assert ended.returncode == 2
    assert "/version: stable does not answer" in ended.stderr
    assert not (tmp_path / "out.json").exists()


_TICKS = """
import importlib, json, sys
from types import SimpleNamespace
ticks = {"steady": [], "staircase": []}
for name, seen in ticks.items():
    shape = getattr(importlib.import_module(f"shapes.{name}"), name.capitalize())()
    shape.stage = SimpleNamespace(users=5, seconds=40.0, over=lambda at: at >= 40)
    for at in json.loads(sys.argv[1]):
        shape.get_run_time = lambda: at
        tick = shape.tick()
        seen.append(tick and tick[0])
print(json.dumps(ticks))
"""


def test_shapes() -> None:
    ended = _python("-c", _TICKS, json.dumps([0, 10, 20, 30, 39.9, 40]))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"steady": [5, 5, 5, 5, 5, None], "staircase": [2, 3, 4, 5, 5, None]}


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


class _Once(QuietHandler):
    """Answers once for each connection without saying so, and drops what else comes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = False  # http.server obeys the header `Connection: close`; not all do
        if getattr(self, "answered", False):
            self.close_connection = True
            return
        self.answered = True
        assert self.body
        event = b'data: {"choices": [{"delta": {"content": "So."}}]}\n\ndata: [DONE]\n\n'
        self.reply(200, event, headers={"x-sluice-release": "r-canary"})


def test_no_question_is_put_on_a_connection_that_was_used_before() -> None:
    with local_server(_Once) as address:
        ended = _python("-c", _ASKS, address)
    assert (ended.stdout.splitlines(), ended.returncode) == (["answered"] * 3, 0), ended.stderr


def _distributed(folder: Path, env: dict[str, str]) -> tuple[list[int], dict[str, Any]]:
    port = str(free_port())
    roles = [
        ["--master", "--master-bind-host=127.0.0.1", f"--master-bind-port={port}", "--expect-workers=2"],
        *[["--worker", "--master-host=127.0.0.1", f"--master-port={port}"]] * 2,
    ]
    children = [
        start(f"locust-{number}", [sys.executable, *LOCUST, *role], state=folder, env={"PYTHONPATH": PATHS, **env})
        for number, role in enumerate(roles)
    ]
    try:
        statuses = [child.process.wait(timeout=600) for child in children]
    finally:
        for child in children:
            child.stop()
    return statuses, json.loads((folder / "out.json").read_text())


@pytest.mark.drill
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("options", [(), ("--status", "503")])
def test_the_master_judges_what_the_workers_measured(
    tmp_path: Path, env: dict[str, str], stub: Callable[..., ReleaseServiceSpec], options: tuple[str, ...]
) -> None:
    with ExitStack() as running:
        for role, words in (("stable", ()), ("canary", options)):
            service = ReleaseService(role, stub(f"r-{role}", *words), state=tmp_path)
            running.callback(service.stop)
            service.wait_ready()
            env[f"SLUICE_{role.upper()}_URL"] = service.url
        env |= {"SLUICE_ROUTER_URL": env["SLUICE_STABLE_URL"], "SLUICE_LOAD_USERS": "5"}
        env |= {"SLUICE_LOAD_DURATION": "6s", "SLUICE_LOAD_TIMEOUT": "240s"}
        statuses, report = _distributed(tmp_path, env)
    if options:
        assert statuses == [3, 0, 0], "a bad canary fails the master alone"
        assert report["targets"]["canary"]["error_rate"] == 1.0
        said = (tmp_path / "logs" / "locust-0.log").read_text().splitlines()
        gates = said[said.index("gates of the load stage:") + 1 :]
        assert len(gates) == len(report["verdicts"]), "the log ends with them, after the tables"
        assert gates[-1].startswith("FAILED: gate ")
        return
    failed = [verdict for verdict in report["verdicts"] if not verdict["passed"]]
    assert (statuses, failed) == ([0, 0, 0], [])
    # One prober for all workers, and everything of the last moment too: whole pairs, as many as for one process.
    assert report["samples"]["canary"]["total_p95_ms"] == len(report["pairs"]) >= 12
    visits = report["visits"]
    assert len({visit["request_id"] for visit in visits}) == len(visits) >= 8
