"""Starts and ends a load stage in Locust: reads its parameters, and makes the exit code the verdict.

0: every gate passed, 3: a gate failed, anything else: nothing was measured. With --master and --worker processes the
load comes from the workers, the master gets their samples and decides.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from typing import Any

from locust import events
from locust.runners import WorkerRunner

from sluice.core.errors import SluiceError
from sluice.release.gates import load_gates
from sluice.release.verdict import Verdict
from sluice.rollout.chat_stream import RELEASE_HEADER
from sluice.rollout.load_measurements import RequestSample
from sluice.rollout.load_test.stage import LoadStage
from sluice.rollout.load_test.verdict import conclude, lines, settled
from sluice.rollout.local_http import request

GATE_FAILED = 3
NOT_MEASURED = 2
_SAMPLES = "sluice_samples"


def start_stage(shapes: Collection[str]) -> LoadStage:
    """The load stage of this process; ends it where nothing could be measured.

    Args:
        shapes: names of the shapes that the locustfile has.
    """
    try:
        stage = _prepare(shapes)
    except SluiceError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_MEASURED)
    _listen(stage)
    return stage


def _prepare(shapes: Collection[str]) -> LoadStage:
    stage = LoadStage.from_environment()
    if stage.shape not in shapes:
        raise SluiceError(f"SLUICE_LOAD_SHAPE: {stage.shape!r} is not one of {', '.join(shapes)}")
    gates = load_gates(stage.gates)
    stage.pairs_needed = max((gate.min_samples for gate in gates if gate.stage == "load"), default=0)
    stage.settled = partial(settled, gates)
    try:
        answer = request(f"{stage.stable}/version", timeout=stage.answer_timeout)
    except OSError as error:
        raise SluiceError(f"{stage.stable}/version: stable does not answer: {error}") from None
    if not (release := answer.headers.get(RELEASE_HEADER)):
        raise SluiceError(f"{stage.stable}/version: status {answer.status_code} without the header {RELEASE_HEADER}")
    stage.stable_release = release
    return stage


def _listen(stage: LoadStage) -> None:
    def start_unproven(environment: Any, **_: Any) -> None:
        environment.process_exit_code = NOT_MEASURED
        # Users finish the request they are in; what is cut off at the end would be neither a success nor a failure.
        environment.stop_timeout = stage.answer_timeout

    def send_samples(client_id: str, data: dict[str, Any]) -> None:
        """What a worker has measured since its last report, to the master."""
        taken, stage.samples = stage.samples, []
        # The prober moves to another worker when its own dies, and begins to count anew.
        data[_SAMPLES] = [asdict(one) | {"pair": one.pair and f"{client_id}-{one.pair}"} for one in taken]

    def receive_samples(client_id: str, data: dict[str, Any]) -> None:
        del client_id
        stage.samples += [RequestSample(**one) for one in data.get(_SAMPLES, ())]

    def decide(environment: Any, **_: Any) -> None:
        if isinstance(environment.runner, WorkerRunner):
            environment.process_exit_code = 0  # the master decides about what all of them measured
        else:
            verdicts.extend(conclude(stage))
            passed = bool(verdicts) and all(verdict.passed for verdict in verdicts)
            environment.process_exit_code = 0 if passed else GATE_FAILED

    def tell(**_: Any) -> None:
        """After Locust's tables: of the log of a Job, the end is what people are shown."""
        if verdicts:
            print("\n".join(lines(verdicts)), flush=True)

    verdicts: list[Verdict] = []
    events.init.add_listener(start_unproven)
    events.report_to_master.add_listener(send_samples)
    events.worker_report.add_listener(receive_samples)
    events.quitting.add_listener(decide)
    events.quit.add_listener(tell)
