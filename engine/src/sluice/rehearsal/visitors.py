"""Light visitor traffic through the router between load stages, and counts of its results."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pydantic import Field

from sluice.core.settings import Settings
from sluice.rollout.chat_stream import PATH, REQUEST_ID, ChatStream, lines_of, request, request_body

_THINK_SECONDS = 1.0


@dataclass(frozen=True)
class Visit:
    request_id: str
    error: str


class TrafficRecord(Settings):
    """Results of visitors. `failed_outside_canary` are requests that didn't go to the canary."""

    requests: int
    to_canary: int
    failed: int
    failed_outside_canary: int
    failures: dict[str, int] = Field(default_factory=dict)


def count(visits: Sequence[Visit], served_by: Mapping[str, str]) -> TrafficRecord:
    """Count visits, and those of an ended load stage that only the router knows. `served_by` is the router's."""
    failed = [visit for visit in visits if visit.error]
    outside = [visit for visit in failed if served_by.get(visit.request_id) != "canary"]
    causes = Counter(f"{served_by.get(visit.request_id, 'nobody')}: {visit.error}" for visit in failed)
    return TrafficRecord(
        requests=len({visit.request_id for visit in visits} | served_by.keys()),
        to_canary=sum(service == "canary" for service in served_by.values()),
        failed=len(failed),
        failed_outside_canary=len(outside),
        failures=dict(causes),
    )


def visit(url: str, question: str, *, timeout: float) -> Visit:
    request_id = uuid.uuid4().hex
    headers = {REQUEST_ID: request_id}
    stream = ChatStream(timeout)
    try:
        with request(url + PATH, timeout, body=request_body(question), headers=headers, stream=True) as response:
            if response.status_code != 200:
                return Visit(request_id, f"status {response.status_code}")
            lines = lines_of(response)
            any(map(stream.feed, lines))  # until the answer is over
            if not stream.fault:  # to the end of its body too: Traefik copies no request of who went before that
                with suppress(OSError):
                    deque(lines, 0)
            return Visit(request_id, stream.fault)
    except OSError as error:
        return Visit(request_id, f"{type(error).__name__}: {error}")


class VisitorTraffic:
    """One visitor in a thread. Leaving the context waits for the request in flight."""

    def __init__(self, url: str, questions: Sequence[str], *, timeout: float) -> None:
        self._url, self._questions, self._timeout = url, questions, timeout
        self._visits: list[Visit] = []
        self._over = threading.Event()
        self._busy = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitors", daemon=True)

    def __enter__(self) -> VisitorTraffic:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        # On Ctrl-C nobody waits for an answer; the thread dies with the process.
        self._thread.join(self._timeout if kind is None else 1)

    @property
    def visits(self) -> tuple[Visit, ...]:
        return tuple(self._visits)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Pause while a load stage brings visitors of its own."""
        self._busy.set()
        try:
            yield
        finally:
            self._busy.clear()

    def _run(self) -> None:
        for question in itertools.cycle(self._questions):
            began = time.monotonic()
            if not self._busy.is_set():
                self._visits.append(visit(self._url, question, timeout=self._timeout))
            # As long as the answer took: visitors of a slow machine must not crowd out everything else.
            if self._over.wait(max(_THINK_SECONDS, time.monotonic() - began)):
                return
