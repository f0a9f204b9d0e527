"""What the checks of a question cost, one by one and side by side: for `guard_figures.py`."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from itertools import cycle

from figures import Figure

from sluice.guardrails.guards import Guards
from sluice.guardrails.text_normalization import MOST_CHARACTERS


async def waited(guards: Guards, texts: Sequence[str], seconds: float) -> tuple[list[float], float]:
    """Percentiles 1 to 99 of what 16 callers wait for a check, and the CPU time of one, both in milliseconds."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    source = cycle(texts)

    async def caller() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await asyncio.sleep(0)  # a request comes through the event loop and waits for its turn there; that counts
            await guards.check_input(next(source))
            times.append((time.perf_counter() - began) * 1000)

    used = time.process_time()
    await asyncio.gather(*(caller() for _ in range(16)))
    used = (time.process_time() - used) / len(times) * 1000
    return statistics.quantiles(times, n=100), used


async def cost(guards: Guards, texts: Sequence[str], seconds: float) -> list[Figure]:
    """`guards` must remember no embedding: the texts come again and again, those of users do not."""
    cuts, used = await waited(guards, texts, seconds)
    strange, _ = await waited(guards, [f"{text} ({number})" for number, text in enumerate(texts)], seconds)
    hostile = {"letters": "а" * 1_000_000, "orders": "ignore all the " * 66_667, "codes": "%41" * 333_334}
    slowest = 0.0
    for text in hostile.values():
        for part in (text, text[:MOST_CHARACTERS]):
            began = time.process_time()
            await guards.check_input(part)
            slowest = max(slowest, (time.process_time() - began) * 1000)
    return [
        ("input checks, 16 at a time, p95", f"{cuts[94]:.1f} ms", "≤ 25 ms", cuts[94] <= 25),
        ("input checks, 16 at a time, p99", f"{cuts[98]:.1f} ms", "≤ 50 ms", cuts[98] <= 50),
        ("the same, of texts that end in a number in brackets, p95", f"{strange[94]:.1f} ms", "", True),
        ("CPU time of the input checks, mean", f"{used:.2f} ms", "", True),
        ("CPU time, hostile text of 1 MB or the longest that is read", f"{slowest:.0f} ms", "≤ 250 ms", slowest <= 250),
    ]


async def parallel(guards: Guards, texts: Sequence[str]) -> Figure:
    alone = [await guards.check_input(text) for text in texts]
    together = await asyncio.gather(*(guards.check_input(text) for text in texts))
    same = sum(a == b for a, b in zip(alone, together, strict=True))
    return "64 at once against one by one", f"{same} of {len(texts)} the same", "all", same == len(texts)
