"""Dynamic batching: one thread runs the pending calls of all threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class DynamicBatcher(Generic[Item, Result]):
    """`work` gets up to `size` items and returns a result for each. It is never called twice at a time: what comes
    while it is busy waits, and is then taken together. Nobody waits for others to come."""

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], size: int) -> None:
        self._work = work
        self._size = size
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._worker = ThreadPoolExecutor(1, "dynamic-batching")

    def ask(self, item: Item) -> Result:
        """The result for `item`. An error of `work` is raised for all the items that it was called with."""
        mine: Future[Result] = Future()
        self._waiting.append((item, mine))
        self._worker.submit(self._next)
        return mine.result()

    def _next(self) -> None:
        """The next batch; none is left where an earlier one took what this call was for."""
        batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
        try:
            for (_, each), result in zip(batch, self._work([item for item, _ in batch]) if batch else (), strict=True):
                each.set_result(result)
        except BaseException as error:
            for _, each in batch:
                if not each.done():
                    each.set_exception(error)
