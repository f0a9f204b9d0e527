"""The load stage of a canary, over HTTP only. The exit code is the verdict: 0 every gate passed, 3 a gate failed,
anything else: nothing was measured.

    locust -f loadtest/locustfile.py --headless --only-summary

Parameters are SLUICE_* variables; engine/docs/reference/rollout.md lists them. With --master and --worker processes the
load comes from the workers, the master gets their samples and decides.
"""

from __future__ import annotations

import sys
from http.client import HTTPException
from typing import Any

from locust import LoadTestShape, events
from locust.runners import WorkerRunner

import shapes.staircase
import shapes.steady
import users.ask
import users.probe
from collect import receive, send
from sluice.core.errors import SluiceError
from sluice.release.gates import load_gates
from sluice.rollout.http import get
from sluice.rollout.stream import RELEASE_HEADER
from stage import Stage
from verdict import conclude

GATE_FAILED = 3
NOT_MEASURED = 2
SHAPES: dict[str, type[LoadTestShape]] = {
    "steady": shapes.steady.Steady,
    "staircase": shapes.staircase.Staircase,
}


def _prepare() -> Stage:
    stage = Stage.from_environment()
    if stage.shape not in SHAPES:
        raise SluiceError(f"SLUICE_LOAD_SHAPE: {stage.shape!r} is not one of {', '.join(SHAPES)}")
    stage.pairs_needed = max((gate.min_samples for gate in load_gates(stage.gates) if gate.stage == "load"), default=0)
    try:
        answer = get(f"{stage.stable}/version", timeout=stage.answer_timeout)
    except (OSError, HTTPException) as error:
        raise SluiceError(f"{stage.stable}/version: stable does not answer: {error}") from None
    if not (release := answer.headers.get(RELEASE_HEADER)):
        raise SluiceError(f"{stage.stable}/version: status {answer.status} without the header {RELEASE_HEADER}")
    stage.stable_release = release
    return stage


try:
    STAGE = _prepare()
except SluiceError as error:
    print(error, file=sys.stderr)
    sys.exit(NOT_MEASURED)


class Visitor(users.ask.Visitor):
    stage = STAGE
    host = STAGE.router
    connection_timeout = network_timeout = STAGE.answer_timeout


class PairedProbe(users.probe.PairedProbe):
    stage = STAGE
    host = STAGE.stable
    connection_timeout = network_timeout = STAGE.answer_timeout


class Shape(SHAPES[STAGE.shape]):  # type: ignore[misc]
    stage = STAGE


@events.init.add_listener
def _start_unproven(environment: Any, **_: Any) -> None:
    environment.process_exit_code = NOT_MEASURED
    # Users finish the request they are in; what is cut off at the end would be neither a success nor a failure.
    environment.stop_timeout = STAGE.answer_timeout


@events.report_to_master.add_listener
def _send(client_id: str, data: dict[str, Any]) -> None:
    send(STAGE, client_id, data)


@events.worker_report.add_listener
def _receive(client_id: str, data: dict[str, Any]) -> None:
    del client_id
    receive(STAGE, data)


@events.quitting.add_listener
def _decide(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        environment.process_exit_code = 0  # the master decides about what all of them measured
    else:
        environment.process_exit_code = 0 if conclude(STAGE) else GATE_FAILED
