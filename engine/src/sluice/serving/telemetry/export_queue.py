"""The SDK's batch processor in front of one exporter, with every loss counted and a bounded end.

The SDK's own figures are not enough: they have to be switched on by a variable of the environment, count a batch that
was refused with a status as exported, and its shutdown waits 30 seconds (engine/docs/decisions/own-spans.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
    """Where spans go. Used by one thread; `export` raises SpansLostError when they do not arrive."""

    def dialect(self, attributes: Mapping[str, Value]) -> Mapping[str, Value]:  # noqa: ARG002 - some need them
        """What the backend wants beside the attributes of a span."""
        return {}


class ExportQueue(SpanProcessor):
    """Takes spans within microseconds, never waits and never raises.

    Args:
        name: of the exporter.
        exporter: gets batches in a thread of the SDK.
        lost: called with a reason and the number of spans, from any thread.
        capacity: spans that wait or are under way; what comes on top is lost.
    """

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
        with interrupts_deferred():
            self._batches = BatchSpanProcessor(
                _CountedExporter(self._deliver, exporter.shutdown),
                max_queue_size=capacity,
                schedule_delay_millis=_EVERY_MILLISECONDS,
                max_export_batch_size=min(_BATCH, capacity),
            )
        # The SDK waits for its exporter for as long as that takes; a thread can be given up.
        self._ending = threading.Thread(target=self._batches.shutdown, name=f"end-{name}", daemon=True)
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
        """Takes nothing more; what waits is still exported. Does not wait: see `close`."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            with interrupts_deferred():
                self._ending.start()

    def close(self, seconds: float) -> bool:
        """Waits at most so long for the queue to empty. False, and the rest counted as lost, when it did not."""
        self.stop()
        self._ending.join(max(0.0, seconds))
        with self._lock:
            left, self._waiting = self._waiting, 0
        if left:
            self._lost("shutdown", left)
            self._exporter.shutdown()
        return not left

    def _deliver(self, spans: Sequence[ReadableSpan]) -> None:
        failure: Exception | None = None
        try:
            self._exporter.export(spans)
        except Exception as error:  # a defect of an exporter must not end the thread
            failure = error
        with self._lock:
            if not self._waiting:  # given up by `close`, and counted there
                return
            self._waiting -= len(spans)
        # One line for each outage: a collector that is down for an hour is not worth thousands.
        if failure and not self._failing:
            _log.warning("telemetry %s: not delivered: %s: %s", self._name, type(failure).__name__, failure)
        elif self._failing and not failure:
            _log.warning("telemetry %s: delivering again", self._name)
        self._failing = failure is not None
        if isinstance(failure, SpansLostError):
            self._lost(failure.reason, len(spans) if failure.count is None else failure.count)
        elif failure:
            self._lost("failed", len(spans))


class _CountedExporter(SpanExporter):
    def __init__(self, deliver: Callable[[Sequence[ReadableSpan]], None], shutdown: Callable[[], None]) -> None:
        self._deliver = deliver
        self._shutdown = shutdown

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._deliver(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._shutdown()


def close_all(queues: Sequence[ExportQueue], seconds: float) -> bool:
    """Closes several at the same time, within one limit for all. False when something was lost."""
    end = time.monotonic() + seconds
    for queue in queues:
        queue.stop()
    left = [queue for queue in queues if not queue.close(end - time.monotonic())]
    return not left
