"""Batches computations for metrics: metrics score case by case, models are fastest in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class MetricBatcher(Generic[T]):
    """`compute` gives a value for each text. It runs in a thread, one call at a time, over all texts that wait by then.

    A text is computed once. When `compute` fails, all who wait for that call get its error; the next try is a new call.
    """

    def __init__(self, compute: Callable[[list[str]], Iterable[T]]) -> None:
        self._compute = compute
        self._known: dict[str, T] = {}
        self._waiting: dict[str, None] = {}
        self._computing: frozenset[str] = frozenset()
        self._worker: asyncio.Task[None] | None = None

    async def of(self, texts: Sequence[str]) -> list[T]:
        """The values of `texts`, in their order."""
        unknown = [text for text in texts if text not in self._known]
        if unknown:
            self._waiting |= {text: None for text in unknown if text not in self._computing}
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
            # One case that is cancelled must not take away what the others wait for.
            await asyncio.shield(self._worker)
        return [self._known[text] for text in texts]

    async def _work(self) -> None:
        await asyncio.sleep(0)  # everybody who is ready has asked by then
        while self._waiting:
            texts = list(self._waiting)
            self._waiting.clear()
            self._computing = frozenset(texts)
            try:
                values = await asyncio.to_thread(self._compute, texts)
                self._known.update(zip(texts, values, strict=True))
            finally:
                self._computing = frozenset()
