from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluice.core.processes import wait_until
from sluice.retrieval.embedder import DynamicBatcher


def waiting(batches: DynamicBatcher[int, int], count: int) -> Callable[[], bool]:
    return lambda: len(batches._waiting) == count


def test_what_waits_is_taken_together_up_to_the_size() -> None:
    open_gate = threading.Event()
    taken: list[list[int]] = []

    def double(items: list[int]) -> list[int]:
        taken.append(items)
        assert open_gate.wait(60)
        return [2 * item for item in items]

    batches = DynamicBatcher(double, size=3)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(batches.ask, 0)
        assert wait_until(lambda: taken == [[0]], seconds=60, every=0.01)
        others = [pool.submit(batches.ask, number) for number in range(1, 6)]
        assert wait_until(waiting(batches, 5), seconds=60, every=0.01)
        open_gate.set()
        assert first.result(60) == 0
        assert [other.result(60) for other in others] == [2, 4, 6, 8, 10]
    assert [len(items) for items in taken] == [1, 3, 2]


def test_an_error_is_that_of_its_own_batch_and_the_next_one_works() -> None:
    def invert(items: list[float]) -> list[float]:
        return [1 / item for item in items]

    batches = DynamicBatcher(invert, size=4)
    with pytest.raises(ZeroDivisionError):
        batches.ask(0)
    assert batches.ask(4) == 0.25
