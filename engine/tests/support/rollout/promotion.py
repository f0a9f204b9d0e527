"""Visitors through the real Traefik while one release takes over from another, without any retry."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sluice.rehearsal.services import ReleaseService, TraefikRouter
from support.load.client import Lines, request
from support.load.overload import percentile
from support.rollout.drill import QUICK, ROWS, spec

WEIGHTS = (10, 50, 100)
OLD, NEW = "r-00000000000a", "r-00000000000b"
# A new weight after so many more of all requests, whatever the last change took; at last the old release is stopped.
_SHARES = (0.15, 0.2, 0.2, 0.2)
_ALONE = 0.1
_CALLERS, _FRESH_EVERY = 16, 4


@dataclass
class Promotion:
    """`served` and `failed` count answers; `alone`: requests sent after the old release had gone."""

    requests: int = 0
    served: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    alone: int = 0
    in_flight: int = 0
    drained_after: float = 0.0
    took: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return percentile(self.times, 0.99)


def promote(requests: int, folder: Path) -> Promotion:
    services = [
        ReleaseService(role, spec(name, QUICK, folder), state=folder) for role, name in (("old", OLD), ("new", NEW))
    ]
    try:
        for service in services:
            service.wait_ready()
        with TraefikRouter(stable=services[0].url, canary=services[1].url, state=folder) as router:
            return asyncio.run(_promote(requests, router, services[0]))
    finally:
        for service in services:
            service.stop()


async def _promote(requests: int, router: TraefikRouter, old: ReleaseService) -> Promotion:
    found, began = Promotion(), time.monotonic()
    gone = asyncio.Event()
    in_progress = 0

    async def caller(lines: Lines) -> None:
        nonlocal in_progress
        # On a quick machine all would be asked before the old release has drained: some must come after it.
        while found.requests < requests or found.alone < requests * _ALONE:
            found.requests += 1
            found.alone += gone.is_set()
            in_progress += 1
            await _ask(lines, found, found.requests)
            in_progress -= 1

    async def conductor() -> None:
        for share, weight in zip(_SHARES, WEIGHTS, strict=False):
            await _reached(found, found.requests + share * requests)
            await asyncio.to_thread(router.set_weight, weight)
        await _reached(found, found.requests + _SHARES[-1] * requests)
        found.in_flight, since = in_progress, time.monotonic()
        await asyncio.to_thread(old.stop)
        found.drained_after = time.monotonic() - since
        gone.set()

    async with Lines(router.port) as lines:
        await asyncio.gather(conductor(), *(caller(lines) for _ in range(_CALLERS)))
    found.took = time.monotonic() - began
    return found


async def _reached(found: Promotion, requests: float) -> None:
    while found.requests < requests:
        await asyncio.sleep(0.005)


async def _ask(lines: Lines, found: Promotion, number: int) -> None:
    question = ROWS[number % len(ROWS)].question
    body = {"model": "sluice", "stream": True, "messages": [{"role": "user", "content": question}]}
    what = request("POST", "/v1/chat/completions", json.dumps(body).encode())
    began = time.monotonic()
    try:
        reply = await lines.ask(what, fresh=number % _FRESH_EVERY == 0)
    except (OSError, asyncio.IncompleteReadError) as error:
        found.failed[type(error).__name__] += 1
        return
    found.times.append(time.monotonic() - began)
    release = reply.headers.get("x-sluice-release", "")
    if reply.status != 200:
        found.failed[f"status {reply.status}"] += 1
    elif release not in (OLD, NEW) or not reply.body.rstrip().endswith(b"data: [DONE]"):
        found.failed["not a whole answer"] += 1
    else:
        found.served[release] += 1
