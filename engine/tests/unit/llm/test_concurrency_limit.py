from __future__ import annotations

import asyncio

import pytest

from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.resilience import ConcurrencyLimit


def test_no_more_than_so_many_at_once_and_everybody_in_turn() -> None:
    slots = ConcurrencyLimit(3)
    inside = most = 0

    async def one() -> None:
        nonlocal inside, most
        async with slots.acquire(asyncio.get_running_loop().time() + 30):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(30)))

    asyncio.run(many())
    asyncio.run(many())  # a second event loop
    assert most == 3


def test_who_waits_too_long_is_told_and_leaves_the_queue() -> None:
    async def scene() -> None:
        slots = ConcurrencyLimit(1)
        now = asyncio.get_running_loop().time
        async with slots.acquire(now()):
            with pytest.raises(ProviderError) as caught:
                async with slots.acquire(now() + 0.05):
                    pass
            assert (caught.value.failure, caught.value.retry_after) == (FailureKind.FULL, 1)
        async with slots.acquire(now()):
            pass

    asyncio.run(scene())
