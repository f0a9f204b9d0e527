"""The SDK's batch processor in front of one exporter, with every loss counted and a bounded end; and traces on disk.

The SDK's own figures count a batch that was refused with a status as exported, and its shutdown waits 30 seconds
(engine/docs/decisions/opentelemetry-sdk.md)."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from sluice.core.processes import interrupts_deferred
from sluice.serving.telemetry.traces import Value

# Labels of the metric; engine/docs/reference/telemetry.md says what each means.
Reason = Literal[
    "queue_full", "unreachable", "refused", "rejected", "garbage", "spool_full", "disk", "shutdown", "failed"
]
_log = logging.getLogger(__name__)
_BATCH = 512  # spans in one request to a backend
_EVERY_MILLISECONDS = 1000


class SpansLostError(Exception):
    """A batch, or `count` spans of it, is lost."""

    def __init__(self, reason: Reason, what: str = "", *, count: int | None = None) -> None:
        super().__init__(what or reason)
        self.reason = reason
        self.count = count


class TraceExporter(SpanExporter):
    """A destination of spans, used by one thread."""

    delivered: Callable[[int, Exception | None], None] | None = None  # how a batch of so many spans has ended

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """Return when they have arrived, else raise SpansLostError."""
        raise NotImplementedError

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        failure: Exception | None = None
        try:
            self.send(spans)
        except Exception as error:  # a defect of an exporter must not end the thread
            failure = error
        if self.delivered:
            self.delivered(len(spans), failure)
        return SpanExportResult.FAILURE if failure else SpanExportResult.SUCCESS

    def dialect(self, attributes: Mapping[str, Value]) -> Mapping[str, Value]:  # noqa: ARG002 - some need them
        """Return what the backend wants beside the attributes of a span."""
        return {}


class ExportQueue(SpanProcessor):
    """Takes spans, never waits and never raises; a thread of the SDK exports them. `capacity` counts those under way,
    too."""

    def __init__(
        self, name: str, exporter: TraceExporter, lost: Callable[[Reason, int], None], *, capacity: int
    ) -> None:
        self._name = name
        self._exporter = exporter
        self._lost = lost
        self._capacity = capacity
        self._lock = threading.Lock()
        self._waiting = 0
        self._failing = False
        exporter.delivered = self._delivered
        with interrupts_deferred():
            self._batches = BatchSpanProcessor(
                exporter,
                max_queue_size=capacity,
                schedule_delay_millis=_EVERY_MILLISECONDS,
                max_export_batch_size=min(_BATCH, capacity),
            )
        # Whatever the SDK is told, it waits for its exporter; a thread can be given up.
        self._ending = threading.Thread(target=self._end, name=f"end-{name}", daemon=True)
        self._closed = False

    def __len__(self) -> int:
        return self._waiting

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            taken = not self._closed and self._waiting < self._capacity
            self._waiting += taken
        if taken:
            self._batches.on_end(span)
        else:
            self._lost("shutdown" if self._closed else "queue_full", 1)

    def stop(self) -> None:
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            with interrupts_deferred():
                self._ending.start()

    def close(self, seconds: float) -> bool:
        """Wait for the queue to empty. If it doesn't in time, count the rest as lost and return False."""
        self.stop()
        self._ending.join(max(0.0, seconds))
        with self._lock:
            left, self._waiting = self._waiting, 0
        if left:
            self._lost("shutdown", left)
            self._exporter.shutdown()
        return not left

    def _end(self) -> None:
        self._batches.force_flush()  # without a limit; `shutdown` would drop what is left after 30 seconds
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def _delivered(self, spans: int, failure: Exception | None) -> None:
        with self._lock:
            if not self._waiting:  # given up by `close`, and counted there
                return
            self._waiting -= spans
        # One line for each outage: a collector that is down for an hour is not worth thousands.
        if failure and not self._failing:
            _log.warning("telemetry %s: not delivered: %s: %s", self._name, type(failure).__name__, failure)
        elif self._failing and not failure:
            _log.warning("telemetry %s: delivering again", self._name)
        self._failing = failure is not None
        if isinstance(failure, SpansLostError):
            self._lost(failure.reason, spans if failure.count is None else failure.count)
        elif failure:
            self._lost("failed", spans)


OPEN_FILE = "spans.jsonl"  # the file that is appended to


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from appending to the folder's files or renaming them."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def append_whole(path: Path, lines: bytes) -> None:
    """Append to a file of this user, all or nothing; nobody else may append at the same time."""
    with open(path, "ab", buffering=0, opener=partial(os.open, mode=0o600)) as stream:
        before, rest = stream.tell(), memoryview(lines)
        try:
            while rest:  # nearly full disks take a part, and refuse the next
                rest = rest[stream.write(rest) :]
        except OSError:
            os.ftruncate(stream.fileno(), before)  # what was written before can still be read
            raise
