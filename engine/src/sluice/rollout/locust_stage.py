"""The load stage of a canary in Locust. Exit code 0: every gate passed; 3: a gate failed; otherwise nothing was
measured.

With --master and --worker, the master gets the workers' samples and decides.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Collection
from dataclasses import asdict
from typing import Any, Literal

from locust import FastHttpUser, events
from locust.runners import WorkerRunner

from sluice.core.errors import SluiceError
from sluice.release.verdict import Verdict
from sluice.rollout.chat_stream import PATH, RELEASE_HEADER, REQUEST_ID, ChatStream, request, request_body
from sluice.rollout.load_stage import LoadStage, RequestSample, conclude, lines

GATE_FAILED = 3
NOT_MEASURED = 2
_SAMPLES = "sluice_samples"


class LoadAnswer:
    """An answer. `error` is empty if it is whole; `release` is its header or None."""

    def __init__(self, stream: ChatStream) -> None:
        self.stream = stream  # times and lengths
        self.request_id = uuid.uuid4().hex
        self.release: str | None = None
        self.error = "stopped before it was answered"

    @property
    def total_ms(self) -> float | None:
        return self.stream.total_ms

    def sample(self, release: Literal["canary", "stable"], pair: int | None = None) -> RequestSample:
        """Return the sample of a visit, or of a probe of the pair with this number."""
        stream = self.stream
        times = (stream.total_ms, stream.ttft_ms, stream.total_length, stream.ttft_length)
        return RequestSample(self.request_id, release, pair, self.error, *times)


def ask(user: FastHttpUser, url: str, question: str, name: str, key: str = "") -> LoadAnswer:
    """Ask a question and read the streamed answer by readline; other ways wait for a full kilobyte.

    Args:
        user: of Locust; asks by its client and its time limit.
        url: address of a release, or of the router.
        question: what is asked.
        name: of the request in Locust's tables.
        key: API key, where the service asks for one.
    """
    answer = LoadAnswer(ChatStream(user.network_timeout))
    # A new connection each time: a server may close a pooled one in the moment it is used, and need not say so.
    user.client.client.clientpool.close()
    headers = {REQUEST_ID: answer.request_id, "Connection": "close"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    with user.client.post(
        url + PATH, json=request_body(question), headers=headers, stream=True, catch_response=True, name=name
    ) as response:
        answer.release = response.headers.get(RELEASE_HEADER) if response.headers else None
        answer.error = _read(response, answer.stream, answer.release)
        if answer.error:
            response.failure(answer.error)
        else:
            response.success()
    _report(user, name, answer)
    return answer


def _read(response: Any, stream: ChatStream, release: str | None) -> str:
    if response.status_code == 0:
        return f"no answer: {type(response.error).__name__}"
    if response.status_code != 200:
        return f"status {response.status_code}"
    try:
        while (line := response.stream.readline(b"\n")) and not stream.feed(line):
            pass
    except Exception as error:  # whatever its type: one that got away would end the task, and with it the sample
        return f"the stream was cut: {type(error).__name__}"
    return stream.fault or ("" if release else f"no {RELEASE_HEADER} header")


def _report(user: FastHttpUser, name: str, answer: LoadAnswer) -> None:
    """Report times to Locust, which times a streamed request to its headers only."""
    for kind, value in (("ttft", answer.stream.ttft_ms), ("total", answer.stream.total_ms)):
        if value is not None and not answer.error:
            user.environment.events.request.fire(
                request_type=kind, name=name, response_time=value, response_length=0, exception=None, context={}
            )


def start_stage(shapes: Collection[str]) -> LoadStage:
    """Return the load stage of this process; exit if nothing could be measured.

    Args:
        shapes: names of the shapes that the locustfile has.
    """
    try:
        stage = LoadStage.from_environment()
        if stage.shape not in shapes:
            raise SluiceError(f"SLUICE_LOAD_SHAPE: {stage.shape!r} is not one of {', '.join(shapes)}")
        stage.stable_release = _release_of(f"{stage.stable}/version", stage.answer_timeout)
    except SluiceError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_MEASURED)
    _listen(stage)
    return stage


def _release_of(url: str, timeout: float) -> str:
    try:
        answer = request(url, timeout=timeout)
    except OSError as error:
        raise SluiceError(f"{url}: stable does not answer: {error}") from None
    if not (release := answer.headers.get(RELEASE_HEADER)):
        raise SluiceError(f"{url}: status {answer.status_code} without the header {RELEASE_HEADER}")
    return release


def _listen(stage: LoadStage) -> None:
    def start_unproven(environment: Any, **_: Any) -> None:
        environment.process_exit_code = NOT_MEASURED
        # Users finish the request they are in; what is cut off at the end would be neither a success nor a failure.
        environment.stop_timeout = stage.answer_timeout

    def send_samples(client_id: str, data: dict[str, Any]) -> None:
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
        """Print the verdicts after Locust's tables: people are shown the end of a Job's log."""
        if verdicts:
            print("\n".join(lines(verdicts)), flush=True)

    verdicts: list[Verdict] = []
    events.init.add_listener(start_unproven)
    events.report_to_master.add_listener(send_samples)
    events.worker_report.add_listener(receive_samples)
    events.quitting.add_listener(decide)
    events.quit.add_listener(tell)
