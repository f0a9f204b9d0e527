"""A bounded background queue with one thread, for work that must never delay a request.

`put` takes microseconds, never waits and never raises; items beyond the limit are dropped and counted. Items are
handled in batches. A batch that failed temporarily (`RetryLaterError`) is tried again after a growing pause, while the
queue keeps filling up to its limit; any other failure loses the batch, which is counted too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from sluice.core.processes import interrupts_deferred

T = TypeVar("T")
Lost = Callable[[str, int], None]

_log = logging.getLogger(__name__)
_ATTEMPTS = 4
_FIRST_PAUSE = 0.5  # seconds; doubled after each attempt


class RetryLaterError(Exception):
    """The batch failed temporarily and may succeed later."""


class BatchLostError(Exception):
    """The batch, or `count` items of it, is lost. `reason` is the label of the metric."""

    def __init__(self, reason: str, what: str = "", *, count: int | None = None) -> None:
        super().__init__(what or reason)
        self.reason = reason
        self.count = count


class BackgroundQueue(Generic[T]):
    """`handle` gets up to `batch` items in its own thread; `lost(reason, count)` may be called from any thread.

    The queue is looked at every `every` seconds; `idle` is called, and must not fail, after each look.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[T]], None],
        lost: Lost,
        *,
        capacity: int,
        batch: int = 64,
        every: float = 0.5,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._handle = handle
        self._lost = lost
        self._capacity = capacity
        self._batch = batch
        self._every = every
        self._idle = idle
        self._queue: deque[T] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._busy = 0
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{name}", daemon=True)
        with interrupts_deferred():
            self._thread.start()

    def __len__(self) -> int:
        return len(self._queue) + self._busy

    def put(self, item: T) -> None:
        if self._closing.is_set():
            self._lost("shutdown", 1)
            return
        if len(self._queue) >= self._capacity:
            self._lost("queue_full", 1)
            return
        self._queue.append(item)
        # The thread looks by itself; waking it for every item would cost more than the item.
        if len(self._queue) == self._batch:
            self._wake.set()

    def wake(self) -> None:
        """Handles what is queued now instead of at the next look."""
        self._wake.set()

    def stop(self) -> None:
        """Takes nothing more; what is queued is still handled. Does not wait: see `close`."""
        self._closing.set()
        self._wake.set()

    def close(self, seconds: float) -> bool:
        """Waits at most so long for the queue to empty. False, and the rest counted as lost, when it did not."""
        self.stop()
        self._thread.join(max(0.0, seconds))
        if not self._thread.is_alive():
            return True
        if left := len(self):
            self._queue.clear()
            self._lost("shutdown", left)
        return False

    def _run(self) -> None:
        while True:
            self._wake.wait(self._every)
            self._wake.clear()
            # Looked at before the queue is emptied: what came in until then is still handled.
            last = self._closing.is_set()
            while self._queue:
                items = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
                self._busy = len(items)
                self._deliver(items)
                self._busy = 0
            if last:
                return
            if self._idle:
                self._idle()

    def _deliver(self, items: list[T]) -> None:
        pause = _FIRST_PAUSE
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._handle(items)
            except RetryLaterError as error:
                self._tell(error)
                # While closing there is no time to be patient.
                if attempt == _ATTEMPTS or self._closing.wait(pause):
                    self._lost("unreachable", len(items))
                    return
                pause *= 2
            except BatchLostError as error:
                self._tell(error)
                self._lost(error.reason, len(items) if error.count is None else error.count)
                return
            except Exception as error:  # a defect of an exporter must not end its thread
                self._tell(error)
                self._lost("failed", len(items))
                return
            else:
                if self._failing:
                    self._failing = False
                    _log.warning("telemetry %s: delivering again", self._name)
                return

    def _tell(self, error: Exception) -> None:
        """Once for each outage: a collector that is down for an hour is one line, not thousands."""
        if not self._failing:
            self._failing = True
            _log.warning("telemetry %s: not delivered: %s: %s", self._name, type(error).__name__, error)


def close_all(workers: list[BackgroundQueue[T]], seconds: float) -> bool:
    """Closes several at the same time, within one limit for all."""
    end = time.monotonic() + seconds
    for worker in workers:
        worker.stop()
    left = [worker for worker in workers if not worker.close(end - time.monotonic())]
    return not left
