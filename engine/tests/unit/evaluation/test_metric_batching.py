from __future__ import annotations

import asyncio
import threading

import pytest

from sluice.evaluation.metric_batching import MetricBatcher


class Counting:
    """Gives the length of each text, and keeps what it was asked."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.calls: list[list[str]] = []
        self.fault = fault
        self.threads: set[int] = set()

    def __call__(self, texts: list[str]) -> list[int]:
        self.calls.append(list(texts))
        self.threads.add(threading.get_ident())
        if self.fault:
            raise self.fault
        return [len(text) for text in texts]


def test_all_who_ask_at_once_are_served_by_one_call() -> None:
    compute = Counting()
    batched = MetricBatcher(compute)

    async def ask() -> list[list[int]]:
        return await asyncio.gather(*(batched.of([f"text {number}", "shared"]) for number in range(200)))

    found = asyncio.run(ask())
    assert found == [[len(f"text {number}"), 6] for number in range(200)]
    assert len(compute.calls) == 1
    assert len(compute.calls[0]) == 201
    assert threading.get_ident() not in compute.threads


def test_what_is_known_is_not_computed_again_in_another_loop() -> None:
    compute = Counting()
    batched = MetricBatcher(compute)
    assert asyncio.run(batched.of(["a", "bb", "a"])) == [1, 2, 1]
    assert asyncio.run(batched.of(["bb", "ccc"])) == [2, 3]
    assert asyncio.run(batched.of([])) == []
    assert compute.calls == [["a", "bb"], ["ccc"]]


def test_who_comes_while_it_computes_is_served_next() -> None:
    started, go_on = threading.Event(), threading.Event()
    calls: list[list[str]] = []

    def compute(texts: list[str]) -> list[int]:
        calls.append(list(texts))
        started.set()
        assert go_on.wait(60)
        return [len(text) for text in texts]

    batched = MetricBatcher(compute)

    async def ask() -> list[list[int]]:
        first = asyncio.create_task(batched.of(["a"]))
        await asyncio.to_thread(started.wait, 60)
        second = asyncio.create_task(batched.of(["bb"]))
        third = asyncio.create_task(batched.of(["a", "ccc"]))
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(first, second, third)

    assert asyncio.run(ask()) == [[1], [2], [1, 3]]
    assert calls == [["a"], ["bb", "ccc"]]


def test_an_error_reaches_all_who_wait_and_the_next_try_is_a_new_call() -> None:
    compute = Counting(MemoryError("too long"))
    batched = MetricBatcher(compute)

    async def ask() -> list[object]:
        return await asyncio.gather(batched.of(["a"]), batched.of(["bb"]), return_exceptions=True)

    assert [str(error) for error in asyncio.run(ask())] == ["too long", "too long"]
    compute.fault = None
    assert asyncio.run(batched.of(["a"])) == [1]
    assert compute.calls == [["a", "bb"], ["a"]]


def test_too_few_values_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        asyncio.run(MetricBatcher(lambda _: [1]).of(["a", "b"]))


def test_one_who_gives_up_does_not_stop_the_others() -> None:
    compute = Counting()
    batched = MetricBatcher(compute)

    async def ask() -> list[int]:
        leaving, staying = asyncio.create_task(batched.of(["a"])), asyncio.create_task(batched.of(["bb"]))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert asyncio.run(ask()) == [2]
