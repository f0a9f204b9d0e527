"""The concurrency limit of a provider, and the maximum waiting time of further requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from sluice.llm.provider_failures import FailureKind, ProviderError


class ConcurrencyLimit:
    """At most `count` concurrent requests, counted for each event loop, because a semaphore belongs to one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def acquire(self, until: float) -> AsyncIterator[None]:
        """Holds one of the `count` permits. FailureKind.FULL when none becomes free before `until`, a time of the event
        loop's clock."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if (places := self._places.get(loop)) is None:
            places = self._places[loop] = asyncio.Semaphore(self._count)
        try:
            async with asyncio.timeout_at(until if places.locked() else None):
                await places.acquire()
        except TimeoutError:
            what = f"{self._count} requests are being answered already"
            raise ProviderError(FailureKind.FULL, what, retry_after=max(1, until - began)) from None
        try:
            yield
        finally:
            places.release()
