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

    def __init__(self) -> None:
        self.request_id = uuid.uuid4().hex
        self.release: str | None = None
        self.error = "stopped before it was answered"
        self.total_ms: float | None = None
        self.ttft_ms: float | None = None

    def sample(self, release: Literal["canary", "stable"], pair: int | None = None) -> RequestSample:
        """What the verdict needs of it. `pair`: number of the pair of probes; None for a visitor's."""
        return RequestSample(
            request_id=self.request_id,
            release=release,
            pair=pair,
            error=self.error,
            total_ms=self.total_ms,
            ttft_ms=self.ttft_ms,
        )


def ask(user: FastHttpUser, url: str, question: str, name: str, key: str = "") -> LoadAnswer:
    """Asks a question and reads the streamed answer, by readline: other ways wait for a full kilobyte.

    Args:
        user: of Locust; asks by its client and its time limit.
        url: address of a release, or of the router.
        question: what is asked.
        name: of the request in Locust's tables.
        key: API key, where the service asks for one.
    """
    answer, stream = LoadAnswer(), ChatStream(user.network_timeout)
    # A new connection each time: a pooled one may be closed by the server in the moment it is used.
    headers = {REQUEST_ID: answer.request_id, "Connection": "close"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    with user.client.post(
        url + PATH, json=request_body(question), headers=headers, stream=True, catch_response=True, name=name
    ) as response:
        answer.release = response.headers.get(RELEASE_HEADER) if response.headers else None
        answer.error = _read(response, stream, answer.release)
        answer.ttft_ms, answer.total_ms = stream.ttft_ms, stream.total_ms
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
    for kind, value in (("ttft", answer.ttft_ms), ("total", answer.total_ms)):
        if value is not None and not answer.error:
            user.environment.events.request.fire(
                request_type=kind, name=name, response_time=value, response_length=0, exception=None, context={}
            )
