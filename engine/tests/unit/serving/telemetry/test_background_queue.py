from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from sluice.core.processes import wait_until
from sluice.serving.telemetry import background_queue
from sluice.serving.telemetry.background_queue import BackgroundQueue, BatchLostError, RetryLaterError, close_all


class Sink:
    """Keeps what it is given; `fail` is raised first, so often as `times` says."""

    def __init__(self, fail: Exception | None = None, times: int = 0) -> None:
        self.got: list[int] = []
        self.batches: list[int] = []
        self.fail = fail
        self.times = times
        self.lost: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()

    def handle(self, items: list[int]) -> None:
        self.gate.wait()
        if self.times and self.fail:
            self.times -= 1
            raise self.fail
        self.got += items
        self.batches.append(len(items))

    def count(self, reason: str, many: int) -> None:
        self.lost[reason] += many

    def worker(self, capacity: int = 100, **options: int) -> BackgroundQueue[int]:
        return BackgroundQueue("test", self.handle, self.count, capacity=capacity, **options)


def test_everything_arrives_in_order_and_in_batches() -> None:
    sink = Sink()
    worker = sink.worker(capacity=1000, batch=10)
    for number in range(105):
        worker.put(number)
    assert worker.close(60)
    assert sink.got == list(range(105))
    assert max(sink.batches) == 10
    assert not sink.lost


def test_a_sink_that_stands_still_costs_items_and_no_time() -> None:
    sink = Sink()
    sink.gate.clear()
    worker = sink.worker(capacity=10, batch=5)
    for number in range(10_000):  # one that waited would wait for ever: the gate opens after the last
        worker.put(number)
    assert len(worker) <= 15
    assert not worker.close(0.2)
    assert sink.lost["queue_full"] + sink.lost["shutdown"] == 10_000
    sink.gate.set()


def test_after_the_end_nothing_is_taken() -> None:
    sink = Sink()
    worker = sink.worker()
    assert worker.close(60)
    worker.put(1)
    assert (sink.got, sink.lost) == ([], {"shutdown": 1})


def test_what_may_be_delivered_later_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_queue, "_FIRST_PAUSE", 0.01)
    sink = Sink(RetryLaterError("busy"), times=3)
    worker = sink.worker()
    worker.put(1)
    worker.wake()
    assert wait_until(lambda: bool(sink.got), seconds=60, every=0.01)
    assert (sink.got, sink.lost) == ([1], {})
    worker.close(60)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RetryLaterError("busy"), {"unreachable": 2}),
        (BatchLostError("refused"), {"refused": 2}),
        (BatchLostError("rejected", count=1), {"rejected": 1}),
        (ZeroDivisionError(), {"failed": 2}),
    ],
)
def test_what_is_never_delivered_is_counted_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, lost: dict[str, int]
) -> None:
    monkeypatch.setattr(background_queue, "_FIRST_PAUSE", 0.001)
    sink = Sink(error, times=4 if isinstance(error, RetryLaterError) else 1)
    worker = sink.worker(batch=2)
    for number in range(4):
        worker.put(number)
    # While it closes there is one attempt only, so the work is done before.
    assert wait_until(lambda: sink.got == [2, 3], seconds=60, every=0.01)
    worker.close(60)
    assert (sink.got, dict(sink.lost)) == ([2, 3], lost)


def test_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink(BatchLostError("refused", "status 403"), times=3)
    worker = sink.worker(batch=1)
    for number in range(4):
        worker.put(number)
    worker.close(60)
    assert [record.message for record in caplog.records] == [
        "telemetry test: not delivered: BatchLostError: status 403",
        "telemetry test: delivering again",
    ]


def test_several_are_closed_within_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = [Sink() for _ in range(3)]
    for sink in stuck:
        sink.gate.clear()
    workers = [sink.worker() for sink in stuck]
    given: list[float] = []
    for worker in workers:
        worker.put(1)

        def close(seconds: float, close: Callable[[float], bool] = worker.close) -> bool:
            given.append(seconds)
            return close(seconds)

        monkeypatch.setattr(worker, "close", close)
    assert not close_all(workers, 0.5)
    assert 0 < given[0] <= 0.5
    assert max(given[1:]) < 0.1, "the first one has used it up"
    assert [sink.lost["shutdown"] for sink in stuck] == [1, 1, 1]
    for sink in stuck:
        sink.gate.set()
