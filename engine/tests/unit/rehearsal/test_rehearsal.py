"""Whole rehearsals with the real Traefik and the real Locust; only the service is a stand-in."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.rehearsal.analysis_runs import JobFiles
from sluice.rehearsal.rehearse import Rehearsal, RehearsalProgress, rehearse
from sluice.rehearsal.services import ReleaseServiceSpec
from sluice.rollout.canary_plan import load_plan
from starter_files import LOCUSTFILE, ROOT
from unit.rehearsal.conftest import SpecFactory

pytestmark = [pytest.mark.real, pytest.mark.drill]

ONE_STEP = """
- setWeight: 50
- pause: {duration: 10s}
- analysis: {templates: [{templateName: load}]}
"""
TWO_STEPS = (
    """
- setWeight: 20
- pause: {duration: 10s}
- analysis: {templates: [{templateName: load}]}
"""
    + ONE_STEP
)

Run = Callable[..., Rehearsal]


@pytest.fixture
def run(tmp_path: Path, rollout_file: Callable[..., Path], gates: Path, questions: Path) -> Run:
    def go(
        stable: ReleaseServiceSpec,
        canary: ReleaseServiceSpec,
        steps: str = ONE_STEP,
        patience: int = 240,
        **more: object,
    ) -> Rehearsal:
        return rehearse(
            load_plan(rollout_file(steps, duration="30s", answer_timeout=f"{patience}s")),
            stable=stable,
            canary=canary,
            files=JobFiles(gates, questions, LOCUSTFILE, tmp_path / "state"),
            out=tmp_path / "rehearsal.json",
            time_scale=0.1,
            **more,  # type: ignore[arg-type]
        )

    return go


def _children(state: Path) -> list[Any]:
    return [read_json(path) for path in (state / "run").glob("*.json")]


def _nothing_left(state: Path) -> None:
    assert not list((state / "run").glob("*.json"))
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        assert str(state) not in command, command


def test_a_good_canary_walks_every_step_and_takes_all_visitors(run: Run, stub: SpecFactory, tmp_path: Path) -> None:
    events: list[RehearsalProgress] = []
    only_in_cluster = "- pause: {}\n- analysis: {templates: [{templateName: budget, clusterScope: true}]}\n"
    result = run(stub("r-old"), stub("r-new"), TWO_STEPS + only_in_cluster, on_event=events.append)
    assert (result.verdict, result.reason) == ("passed", "")
    assert [step.kind for step in result.steps] == [*["setWeight", "pause", "analysis"] * 2, "pause", "analysis"]
    assert [step.weight for step in result.steps] == [20, 20, 20, 50, 50, 50, 50, 50]
    assert sum(event.text.startswith("left out, only in a cluster: the ") for event in events) == 2
    assert all(step.verdict == "passed" for step in result.steps)
    assert [weight for _, weight in result.weights] == [0, 20, 50, 100]
    assert [at for at, _ in result.weights] == sorted(at for at, _ in result.weights)
    load = result.steps[2]
    assert {gate.gate: gate.passed for gate in load.gates} == {"canary_errors": True, "canary_latency": True}
    assert load.metrics["canary"]["requests"]
    assert load.metrics["stable"]["total_p50_ms"]
    assert result.traffic.requests >= 3  # of each load stage, and of the visitor between them
    assert (result.traffic.failed, result.traffic.failed_outside_canary) == (0, 0)
    assert [event.fraction for event in events] == sorted(event.fraction for event in events)
    _nothing_left(tmp_path / "state")

    document = read_json(tmp_path / "rehearsal.json")
    names = ("release", "stable", "time_scale", "steps", "weights", "traffic", "verdict", "reason")
    assert list(document) == [*names]
    assert list(document["steps"][2]) == [
        *("index", "kind", "template", "weight", "started_s", "seconds", "verdict", "reason", "gates", "metrics")
    ]
    assert Rehearsal.model_validate(document) == result


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--status", "503"), ("gate canary_errors: error_rate", "status 503")),
        (("--answer", "empty"), ("gate canary_errors: error_rate is 1;", "the answer is empty")),
        (("--answer", "torn"), ("gate canary_errors: error_rate is 1;", "the stream was cut")),
        (("--delay", "600"), ("canary_errors", "canary_latency")),  # no samples
    ],
)
def test_a_silent_canary(
    run: Run, stub: SpecFactory, tmp_path: Path, options: tuple[str, ...], said: tuple[str, str]
) -> None:
    patience = 30 if "--delay" in options else 240  # in which stable answers
    result = run(stub("r-old"), stub("r-bad", *options), patience=patience)
    assert result.verdict == "failed"
    assert all(words in result.reason for words in said), result.reason
    assert result.traffic.failed_outside_canary == 0
    _nothing_left(tmp_path / "state")


def test_a_canary_that_dies_at_start_leaves_stable_untouched(run: Run, stub: SpecFactory, tmp_path: Path) -> None:
    result = run(stub("r-old"), stub("r-dead", "--die", "cannot load the model"))
    assert result.verdict == "failed"
    assert "canary r-dead ended with status 7" in result.reason
    assert "cannot load the model" in result.reason
    assert result.steps == ()
    assert {weight for _, weight in result.weights} == {0}
    assert result.traffic.requests > 0
    assert result.traffic.failed == 0
    assert read_json(tmp_path / "rehearsal.json")["verdict"] == "failed"
    _nothing_left(tmp_path / "state")


def test_a_canary_that_dies_on_the_way_is_stopped_at_once(run: Run, stub: SpecFactory, tmp_path: Path) -> None:
    def kill_it(event: RehearsalProgress) -> None:
        if event.text.startswith("watching") and event.news:
            record = next((tmp_path / "state" / "run").glob("canary-*.json"))
            os.kill(read_json(record)["pid"], signal.SIGKILL)

    result = run(stub("r-old"), stub("r-new"), ONE_STEP.replace("10s", "1h"), on_event=kill_it)
    assert result.verdict == "failed"
    assert "canary r-new ended with status -9" in result.reason
    assert [step.kind for step in result.steps] == ["setWeight", "pause"]
    assert result.steps[-1].seconds < 600  # of an hour
    assert result.traffic.failed_outside_canary == 0


def test_without_stable_nothing_is_decided(run: Run, stub: SpecFactory, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="stable r-old ended with status 7"):
        run(stub("r-old", "--die", "no disk"), stub("r-new"))
    assert not (tmp_path / "rehearsal.json").exists()
    _nothing_left(tmp_path / "state")


_SCRIPT = """
import json, sys
from pathlib import Path
from sluice.rollout.canary_plan import load_plan
from sluice.rehearsal.analysis_runs import JobFiles
from sluice.rehearsal.rehearse import rehearse
from sluice.rehearsal.services import ReleaseServiceSpec
a = json.loads(sys.argv[1])
rehearse(load_plan(Path(a["plan"])), stable=ReleaseServiceSpec("r-old", a["stable"]),
         canary=ReleaseServiceSpec("r-new", a["canary"]),
         files=JobFiles(*(Path(a[name]) for name in ("gates", "questions", "locustfile", "state"))), out=Path(a["out"]),
         on_event=lambda e: e.news and print(e.text, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_kill_leave_no_process_behind(
    how: signal.Signals,
    tmp_path: Path,
    rollout_file: Callable[..., Path],
    stub: SpecFactory,
    gates: Path,
    questions: Path,
) -> None:
    state = tmp_path / "state"
    arguments = {
        "plan": str(rollout_file("- setWeight: 50\n- analysis: {templates: [{templateName: load}]}\n", duration="1h")),
        "stable": list(stub("r-old").argv),
        "canary": list(stub("r-new").argv),
        "gates": str(gates),
        "questions": str(questions),
        "state": str(state),
        "out": str(tmp_path / "rehearsal.json"),
        "locustfile": str(LOCUSTFILE),
    }
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")},
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("load stage"):
                break
        all_of_them = {"stable", "canary", "router", "load-1"}
        assert wait_until(lambda: {child["name"] for child in _children(state)} == all_of_them, seconds=240)
        children = _children(state)
        process.send_signal(how)
        assert process.wait(240) != 0

    def alive() -> list[str]:
        return [child["name"] for child in children if Path(f"/proc/{child['pid']}").exists()]

    assert wait_until(lambda: not alive(), seconds=240), alive()
    assert not (tmp_path / "rehearsal.json").exists()
    ports = [word.rpartition(":")[2] for child in children for word in child["argv"] if "127.0.0.1:" in word]
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(1)
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0
