"""Asks a question, reads the streamed answer to its end and checks what it says; for users of Locust."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from locust import FastHttpUser

from sluice.rollout.chat_stream import PATH, RELEASE_HEADER, ChatStream, request_body
from sluice.rollout.load_measurements import RequestSample
from sluice.rollout.local_http import REQUEST_ID


class LoadAnswer:
    """What came back: `error` is empty for a whole answer, `release` is its header or None."""

    def __init__(self, stream: ChatStream) -> None:
        self.stream = stream  # times and lengths
        self.request_id = uuid.uuid4().hex
        self.release: str | None = None
        self.error = "stopped before it was answered"

    @property
    def total_ms(self) -> float | None:
        """How long the whole answer took; None where its end was never reached."""
        return self.stream.total_ms

    def sample(self, release: Literal["canary", "stable"], pair: int | None = None) -> RequestSample:
        """What the verdict needs of it. `pair`: number of the pair of probes; None for a visitor's."""
        stream = self.stream
        times = (stream.total_ms, stream.ttft_ms, stream.total_length, stream.ttft_length)
        return RequestSample(self.request_id, release, pair, self.error, *times)


def ask(user: FastHttpUser, url: str, question: str, name: str, key: str = "") -> LoadAnswer:
    """Asks a question and reads the streamed answer, by readline: other ways wait for a full kilobyte.

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
    """Locust times a streamed request to its headers only; these are the times its tables should show."""
    for kind, value in (("ttft", answer.stream.ttft_ms), ("total", answer.stream.total_ms)):
        if value is not None and not answer.error:
            user.environment.events.request.fire(
                request_type=kind, name=name, response_time=value, response_length=0, exception=None, context={}
            )
