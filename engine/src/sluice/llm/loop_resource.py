"""A client of asyncio, such as an HTTP session, that belongs to an event loop: one for each loop, closed with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopResource(Generic[T]):
    """`opening` makes the resource; it is entered at the first use in an event loop, and left at the end of the loop.

    No generator may make it: the loop would close that one too, at the same time.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._opening = opening
        self._open: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[T, None]]] = {}
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    async def get(self) -> T:
        """The resource of the running event loop."""
        loop = asyncio.get_running_loop()
        if (there := self._open.get(loop)) is not None:
            return there[0]
        async with self._locks.setdefault(loop, asyncio.Lock()):
            if loop not in self._open:
                life = self._life(loop)
                self._open[loop] = (await anext(life), life)
            return self._open[loop][0]

    async def _life(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[T, None]:
        """Suspended as long as the loop runs: what runs a loop closes its open generators at the end, so that no caller
        has to."""
        try:
            async with self._opening() as resource:
                yield resource
        finally:
            self._open.pop(loop, None)
            self._locks.pop(loop, None)
