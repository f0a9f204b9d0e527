from __future__ import annotations

import asyncio

import pytest

from sluice.llm.provider_http import LoopResource


class Resource:
    """Notes what becomes of it."""

    def __init__(self, seen: list[str], *, broken: bool = False) -> None:
        self.seen = seen
        self.broken = broken

    async def __aenter__(self) -> Resource:
        await asyncio.sleep(0)  # so that the second caller comes while the first is opening it
        if self.broken:
            raise ConnectionError
        self.seen.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seen.append("closed")


def test_one_for_each_event_loop_which_closes_it() -> None:
    seen: list[str] = []
    resource = LoopResource(lambda: Resource(seen))

    async def twice() -> None:
        first, second = await asyncio.gather(resource.get(), resource.get())
        assert first is second
        assert first is await resource.get()

    asyncio.run(twice())
    asyncio.run(twice())
    assert seen == ["opened", "closed"] * 2


def test_one_that_could_not_be_opened_is_tried_again() -> None:
    seen: list[str] = []
    made = iter([Resource(seen, broken=True), Resource(seen)])

    async def twice() -> None:
        resource = LoopResource(lambda: next(made))
        with pytest.raises(ConnectionError):
            await resource.get()
        await resource.get()

    asyncio.run(twice())
    assert seen == ["opened", "closed"]
