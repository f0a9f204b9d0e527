"""What callers of the whole service notice of providers that fail: the deadline, the fallback, the breaker.

    .venv/bin/python engine/benchmarks/failing_providers.py      # a minute

The application runs in this process over two scripted servers, with the breaker of config/providers.yaml. Times are
those of its own event loop. Prints a table in Markdown. Ends with 1 when a limit is not kept.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from figures import Figure, show

from sluice.llm.resilience import ProviderAttempt
from support.event_loop import run
from support.providers.failures import RETRIES, Failing, Told, failing

CALLERS = 16
DEADLINE = 1.0
FAULTS = {"500": "status:500", "a reset": "reset", "slow": "late:30"}
HANGING = [("hang", "hang"), ("status:500", "hang_in_stream"), ("reset", "hang")]


def overshoots(first: str, second: str, *, deadline: float, callers: int, stream: bool) -> list[float]:
    """Seconds after the deadline at which each of `callers` requests at once was over; the script words say what the
    providers do. Every one of them must have ended for its deadline."""
    # No breaker opens, so that all of them wait, retry and fall over.
    with failing(deadline=deadline, a_first_token=deadline / 3, failures=1000) as service:
        service.a.script, service.b.script = [first], [second]

        async def all_at_once() -> list[Told]:
            await service.ask(stream=stream)  # what a first request loads is not counted
            service.attempts.clear()
            return list(await asyncio.gather(*(service.ask(stream=stream) for _ in range(callers))))

        answers = run(all_at_once())
    assert all("model_timeout" in answer.body for answer in answers), answers
    return [answer.seconds - deadline for answer in answers]


@dataclass(frozen=True)
class Fallover:
    """`share` of the requests that were answered while the first provider failed; `failures` of it until its breaker
    opened; `closed_after`: seconds from its recovery until it answered again."""

    share: float
    failures: int
    closed_after: float


def fall_over(fault: str, *, requests: int, callers: int) -> Fallover:
    """The first provider fails as the script word says, later it answers again; the second is well all the time."""
    with failing(deadline=10, a_first_token=0.3) as service:
        return asyncio.run(_fall_over(service, fault, requests, callers))


async def _fall_over(service: Failing, fault: str, requests: int, callers: int) -> Fallover:
    now = asyncio.get_running_loop().time
    service.a.script, service.b.script = [fault], ["normal"]
    failures, opened = 0, asyncio.Event()

    def count(attempt: ProviderAttempt) -> None:
        nonlocal failures
        if attempt.provider == "a" and not opened.is_set():
            failures += 1
            if service.chat.states["a"] == "open":
                opened.set()

    service.chat.observers.append(count)
    turns = asyncio.Semaphore(callers)

    async def one() -> bool:
        async with turns:
            answer = await service.ask()
            return answer.status == 200 and "64 tok" in answer.body

    share = sum(await asyncio.gather(*(one() for _ in range(requests)))) / requests
    assert opened.is_set(), "the breaker never opened"
    assert service.answered_by("a") == 0
    service.a.script = ["normal"]
    recovered = now()
    while not service.answered_by("a"):
        assert now() - recovered < 60, "the first provider is never asked again"
        await service.ask()
        await asyncio.sleep(0.05)
    return Fallover(share, failures, now() - recovered)


def main() -> int:
    logging.disable(logging.CRITICAL)  # every failure is one line of it
    figures: list[Figure] = []
    for first, second in HANGING:
        for stream in (False, True):
            late = 1000 * max(overshoots(first, second, deadline=DEADLINE, callers=CALLERS, stream=stream))
            name = f"{first}, then {second}, {'stream' if stream else 'plain'}: ms after the deadline, the last"
            figures.append((name, f"{late:.0f}", "<= 250", late <= 250))
    for name, fault in FAULTS.items():
        found = fall_over(fault, requests=400, callers=CALLERS)
        figures += [
            (f"first provider {name}: answered", f"{found.share:.2%}", ">= 99.5 %", found.share >= 0.995),
            (f"first provider {name}: failures until left alone", f"{found.failures}", "<= 20", found.failures <= 20),
            (f"first provider {name}: back after s", f"{found.closed_after:.1f}", "<= 10", found.closed_after <= 10),
        ]
    print(f"{CALLERS} requests at a time, {RETRIES} retries for each provider, a deadline of {DEADLINE:g} s")
    return show(figures)


if __name__ == "__main__":
    sys.exit(main())
