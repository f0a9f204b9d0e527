"""Dynamic batching: one thread runs the pending calls of all threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class DynamicBatcher(Generic[Item, Result]):
    """`work` gets up to `size` items and returns a result for each. It is never called twice at a time: what comes
    while it is busy waits, and is then taken together. Nobody waits for others to come."""

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], size: int) -> None:
        self._work = work
        self._size = size
        self._changed = threading.Condition()
        self._waiting: list[tuple[Item, Future[Result]]] = []
        self._busy = False

    def ask(self, item: Item) -> Result:
        """The result for `item`. An error of `work` is raised for all the items that it was called with."""
        mine: Future[Result] = Future()
        with self._changed:
            self._waiting.append((item, mine))
        while batch := self._take(mine):
            self._do(batch)
        return mine.result()

    def _take(self, mine: Future[Result]) -> list[tuple[Item, Future[Result]]]:
        """The batch that is the caller's to do; empty once the caller's own item is done."""
        with self._changed:
            self._changed.wait_for(lambda: mine.done() or not self._busy)
            if mine.done():
                return []
            self._busy = True
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            return batch

    def _do(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        try:
            for (_, each), result in zip(batch, self._work([item for item, _ in batch]), strict=True):
                each.set_result(result)
        except BaseException as error:  # also an interrupt of this thread: the others would wait for ever
            for _, each in batch:
                if not each.done():
                    each.set_exception(error)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
