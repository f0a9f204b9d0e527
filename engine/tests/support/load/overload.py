"""Offers a service a multiple of what it can answer, and measures what becomes of it.

The load is open: requests are sent when their time has come, whether the ones before them are answered or not, a
quarter of them on connections of their own. `engine/benchmarks/overload.py` prints it, a test asserts it.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from support.load.client import Lines, Reply, request
from support.load.service import QUESTION, SteadyService

TIMES = 5
_FRESH_EVERY = 4
_RAMP = 1.0  # seconds of the load that are not counted: until the queue is full
_NORMAL = 1.5  # times the median of an idle service: an answer that takes no longer is normal
_GIVE_UP = 30.0


@dataclass(frozen=True)
class Shot:
    """One request: when it was sent, how much later than planned, and its answer. Seconds; status 0: a broken
    connection."""

    at: float
    late: float
    seconds: float
    status: int
    retry_after: str


@dataclass(frozen=True)
class Overload:
    """`capacity`, `offered`, `goodput`: answers a second. `shed_*`, `admitted_*`: milliseconds. `normal_after`: seconds
    from the end of the load. `probes` asked /readyz during the load. `cpu`: cores that the service used.
    `lateness_p99`: of the load, in milliseconds. `longest`: seconds that one request or its start took at most."""

    capacity: float
    offered: float
    goodput: float
    shed: int
    shed_p50: float
    shed_p99: float
    shed_without_retry_after: int
    admitted_p50: float
    other: dict[int, int]
    rss: int
    peak: int
    normal_after: float
    probes: int
    probes_failed: int
    lateness_p99: float
    longest: float
    cpu: float

    @property
    def share(self) -> float:
        """Goodput as a share of the capacity."""
        return self.goodput / self.capacity

    @property
    def growth(self) -> float:
        """The most resident memory during the load against that before it."""
        return self.peak / self.rss - 1


def percentile(values: Sequence[float], share: float) -> float:
    """Of an empty list: infinity, so that nothing passes on silence."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("inf")


def measure(seconds: float, *, places: int = 8, answer: float = 0.2, before: float = 5.0) -> Overload:
    """Starts a service with `places` of `answer` seconds each, finds its capacity within `before` seconds, then offers
    five times that for `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        limits = {"max_concurrent": places, "max_queued": 2 * places}
        with (
            SteadyService(Path(folder), seconds=answer, limits=limits) as service,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,  # cheaper: the load shares the processor
        ):
            return runner.run(_measure(service, seconds, places, answer, before))


async def _measure(service: SteadyService, seconds: float, places: int, answer: float, before: float) -> Overload:
    body = json.dumps({"messages": [{"role": "user", "content": QUESTION}]}).encode()
    what = request("POST", "/v1/chat/completions", body, authorization=service.authorization)
    async with Lines(service.port) as lines:
        await _closed(lines, what, places, 1.0, answer)  # warm
        idle = median([(await shoot(lines, what)).seconds for _ in range(10)])
        capacity = await _closed(lines, what, 2 * places, before, answer)
        # Once beyond it, so that what a first overload needs is not taken for growth.
        await fire(lines, what, TIMES * capacity, 1.0)
        service.forget_peak()
        rss, cpu, began = service.rss, service.cpu, time.monotonic()
        shots, probes = await asyncio.gather(
            fire(lines, what, TIMES * capacity, seconds), _probe(lines, began + seconds)
        )
        cpu = (service.cpu - cpu) / (time.monotonic() - began)
        normal = await _until_normal(lines, what, idle) - max(shot.at for shot in shots)
        goodput = _rate(shots, began + _RAMP, began + seconds, answer)
        return _report(shots, probes, capacity, goodput, (rss, service.peak), normal, cpu)


async def shoot(lines: Lines, what: bytes, *, late: float = 0.0, fresh: bool = False) -> Shot:
    """One request, whatever becomes of it."""
    at = time.monotonic()
    try:
        reply = await lines.ask(what, fresh=fresh)
    except (OSError, asyncio.IncompleteReadError):
        reply = Reply(0, {}, b"")
    return Shot(at, late, time.monotonic() - at, reply.status, reply.headers.get("retry-after", ""))


async def _closed(lines: Lines, what: bytes, callers: int, seconds: float, answer: float) -> float:
    """Answers a second with so many callers, each of whom asks again when he is answered."""
    began = time.monotonic()
    since, until = began + seconds / 5, began + seconds
    shots: list[Shot] = []

    async def one() -> None:
        while time.monotonic() < until + answer:
            shots.append(await shoot(lines, what))

    await asyncio.gather(*(one() for _ in range(callers)))
    return _rate(shots, since, until, answer)


def _rate(shots: Sequence[Shot], since: float, until: float, answer: float) -> float:
    """Answers a second between two moments. One that was in progress at either counts by the part of its last `answer`
    seconds that lies within: places that end together would make the count of whole answers jump."""
    ends = [shot.at + shot.seconds for shot in shots if shot.status == 200]
    parts = [(min(end, until) - max(end - answer, since)) / answer for end in ends]
    return sum(max(0.0, part) for part in parts) / (until - since)


async def fire(lines: Lines, what: bytes, rate: float, seconds: float) -> list[Shot]:
    """Open load of `rate` requests a second; returns when all of them are answered."""
    began, number = time.monotonic(), 0
    tasks: list[asyncio.Task[Shot]] = []
    while (planned := number / rate) < seconds:
        late = time.monotonic() - began - planned
        if late < 0:
            await asyncio.sleep(-late)
            late = max(0.0, time.monotonic() - began - planned)
        tasks.append(asyncio.create_task(shoot(lines, what, late=late, fresh=number % _FRESH_EVERY == 0)))
        number += 1
        if number % 8 == 0:
            await asyncio.sleep(0)  # one that is late sends the next ones without a pause; the answers have to be read
    return list(await asyncio.gather(*tasks))


async def _probe(lines: Lines, until: float) -> list[Shot]:
    """A cluster stops sending to a pod, or kills it, when its probes are not answered."""
    probes: list[Shot] = []
    while time.monotonic() < until:
        probes.append(await shoot(lines, request("GET", "/readyz"), fresh=True))
        await asyncio.sleep(0.2)
    return probes


async def _until_normal(lines: Lines, what: bytes, idle: float) -> float:
    """The moment since which answers take as long as those of an idle service, three in a row; infinity: never."""
    ends, since = time.monotonic() + _GIVE_UP, []
    while time.monotonic() < ends:
        shot = await shoot(lines, what)
        normal = shot.status == 200 and shot.seconds <= _NORMAL * idle + 0.01
        since = [*since, shot.at] if normal else []
        if len(since) == 3:
            return since[0]
        if shot.status != 200:
            await asyncio.sleep(0.02)
    return float("inf")


def _report(
    shots: Sequence[Shot],
    probes: Sequence[Shot],
    capacity: float,
    goodput: float,
    memory: tuple[int, int],
    normal: float,
    cpu: float,
) -> Overload:
    answered = [shot for shot in shots if shot.status == 200]
    shed = [shot for shot in shots if shot.status in (429, 503)]
    other = [shot.status for shot in shots if shot.status not in (200, 429, 503)]
    times = [1000 * shot.seconds for shot in shed]
    sent = [shot.at for shot in shots]
    return Overload(
        capacity=capacity,
        offered=(len(sent) - 1) / (max(sent) - min(sent)),
        goodput=goodput,
        shed=len(shed),
        shed_p50=percentile(times, 0.5),
        shed_p99=percentile(times, 0.99),
        shed_without_retry_after=sum(not shot.retry_after.isdigit() for shot in shed),
        admitted_p50=percentile([1000 * shot.seconds for shot in answered], 0.5),
        other={status: other.count(status) for status in set(other)},
        rss=memory[0],
        peak=memory[1],
        normal_after=normal,
        probes=len(probes),
        probes_failed=sum(probe.status != 200 for probe in probes),
        lateness_p99=percentile([1000 * shot.late for shot in shots], 0.99),
        longest=max(time for shot in (*shots, *probes) for time in (shot.seconds, shot.late)),
        cpu=cpu,
    )
