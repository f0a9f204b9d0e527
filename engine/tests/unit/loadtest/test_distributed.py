"""The load stage from a master and two workers: real Locust processes, as the template load-distributed runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.core.processes import free_port, wait_until
from starter_files import GATES, LOCUSTFILE
from support.local_server import answers

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[4]
STUB = ROOT / "engine" / "tests" / "unit" / "rehearsal" / "stub_service.py"
LOCUST = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]


@pytest.fixture
def stub() -> Iterator[Callable[..., str]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(release: str, *options: str) -> str:
        port = free_port()
        argv = [sys.executable, str(STUB), "--port", str(port), "--release", release, *options]
        started.append(subprocess.Popen(argv))
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: answers(f"{url}/readyz"), seconds=60)
        return url

    yield start
    for process in started:
        process.kill()
        process.wait()


def _run(folder: Path, stable: str, canary: str) -> tuple[list[int], dict[str, Any]]:
    """Exit statuses of master and workers, and the master's report."""
    questions = folder / "questions.jsonl"
    questions.write_text('{"question": "Why?"}\n')
    port = str(free_port())
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "engine" / "src"), str(LOCUSTFILE.parent)]),
        **{"SLUICE_STABLE_URL": stable, "SLUICE_CANARY_URL": canary, "SLUICE_ROUTER_URL": stable},
        "SLUICE_QUESTIONS": str(questions),
        "SLUICE_GATES": str(GATES),
        "SLUICE_LOAD_OUT": str(folder / "out.json"),
        "SLUICE_LOAD_USERS": "5",
        "SLUICE_LOAD_DURATION": "6s",
        "SLUICE_LOAD_SHAPE": "steady",
        "SLUICE_LOAD_TIMEOUT": "240s",
    }
    roles = [
        ["--master", "--master-bind-host=127.0.0.1", f"--master-bind-port={port}", "--expect-workers=2"],
        *[["--worker", "--master-host=127.0.0.1", f"--master-port={port}"]] * 2,
    ]
    processes = []
    for number, role in enumerate(roles):
        with (folder / f"locust-{number}.log").open("wb") as log:
            processes.append(subprocess.Popen(LOCUST + role, env=env, cwd=ROOT, stdout=log, stderr=log))
    try:
        statuses = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return statuses, json.loads((folder / "out.json").read_text())


@pytest.mark.usefixtures("loopback")
def test_the_master_judges_what_the_workers_measured(tmp_path: Path, stub: Callable[..., str]) -> None:
    statuses, report = _run(tmp_path, stub("r-stable"), stub("r-canary"))
    failed = [verdict for verdict in report["verdicts"] if not verdict["passed"]]
    assert (statuses, failed) == ([0, 0, 0], [])
    # One prober for all workers, and everything of the last moment too: whole pairs, as many as for one process.
    assert report["samples"]["canary"]["total_p95_ms"] == len(report["pairs"]) >= 12
    visits = report["visits"]
    assert len({visit["request_id"] for visit in visits}) == len(visits) >= 8


@pytest.mark.usefixtures("loopback")
def test_a_bad_canary_fails_the_master_alone(tmp_path: Path, stub: Callable[..., str]) -> None:
    statuses, report = _run(tmp_path, stub("r-stable"), stub("r-canary", "--status", "503"))
    assert statuses == [3, 0, 0]
    assert report["targets"]["canary"]["error_rate"] == 1.0
    said = (tmp_path / "locust-0.log").read_text().splitlines()
    gates = said[said.index("gates of the load stage:") + 1 :]
    assert len(gates) == len(report["verdicts"]), "the log ends with them, after the tables"
    assert gates[-1].startswith("FAILED: gate ")
