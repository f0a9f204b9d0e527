"""Two replicas of the service behind the real Traefik, with the retry of k8s/base; one of them is killed."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core import processes
from starter_files import ROOT
from support.load.client import Lines, request
from support.load.overload import Shot, shoot
from support.load.service import QUESTION, SteadyService
from support.local_server import answers

pytestmark = [pytest.mark.real, pytest.mark.drill]

RATE = 50  # requests a second
BEFORE, HELD, AFTER = 100, 20, 150  # requests: before one replica stands still, until it is killed, and afterwards
BODY = json.dumps({"messages": [{"role": "user", "content": QUESTION}]}).encode()


def retry_of_the_cluster() -> dict[str, Any]:
    base = ROOT / "engine" / "k8s" / "base"
    (route,) = yaml.safe_load((base / "ingressroute.yaml").read_text())["spec"]["routes"]
    middleware = yaml.safe_load((base / "middleware-retry.yaml").read_text())
    assert {entry["name"] for entry in route["middlewares"]} == {middleware["metadata"]["name"]}
    spec: dict[str, Any] = middleware["spec"]
    return spec


@contextmanager
def balanced(urls: list[str], middlewares: dict[str, Any], state: Path) -> Iterator[int]:
    port = processes.free_port()
    router = {"rule": "PathPrefix(`/`)", "service": "replicas", "middlewares": list(middlewares)}
    services = {"replicas": {"loadBalancer": {"servers": [{"url": url} for url in urls]}}}
    document: dict[str, Any] = {"routers": {"all": router}, "services": services}
    if middlewares:
        document["middlewares"] = middlewares
    dynamic = state / "dynamic.yml"
    dynamic.write_text(json.dumps({"http": document}))
    argv = [
        str(processes.program("traefik")),
        f"--entryPoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={dynamic}",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]
    child = processes.start("balancer", argv, state=state)
    try:
        assert processes.wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), seconds=60), child.tail()
        yield port
    finally:
        child.stop()


async def _load(port: int, key: str, victim: SteadyService) -> tuple[list[Shot], float, float]:
    """Send all requests; return when the victim stood still and when it was gone. Stopped first, it is killed while
    answering."""
    what = request("POST", "/v1/chat/completions", BODY, authorization=f"Bearer {key}")
    asking: list[asyncio.Task[Shot]] = []

    async def send(many: int) -> None:
        for _ in range(many):
            asking.append(asyncio.create_task(shoot(lines, what, fresh=len(asking) % 4 == 0)))
            await asyncio.sleep(1 / RATE)

    async with Lines(port) as lines:
        for _ in range(4):
            assert (await shoot(lines, what)).status == 200  # both are warm, and the router has connections to both
        await send(BEFORE)
        held = time.monotonic()
        victim.process.send_signal(signal.SIGSTOP)
        await send(HELD)
        victim.process.kill()
        await asyncio.to_thread(victim.process.wait)
        gone = time.monotonic()
        await send(AFTER)
        shots = list(await asyncio.gather(*asking))
    return shots, held, gone


def _kill_one_of_two(state: Path, middlewares: dict[str, Any]) -> tuple[list[Shot], float, float]:
    limits = {"max_concurrent": 256, "max_queued": 64}
    with (
        SteadyService(state, seconds=0.1, limits=limits) as one,
        SteadyService(state, seconds=0.1, limits=limits) as two,
    ):
        urls = [f"http://127.0.0.1:{service.port}" for service in (one, two)]
        with balanced(urls, middlewares, state) as port:
            return asyncio.run(_load(port, one.key, two))


def test_a_replica_that_is_killed_costs_only_what_it_was_answering(tmp_path: Path) -> None:
    shots, held, gone = _kill_one_of_two(tmp_path, {"retry": retry_of_the_cluster()})
    assert len(shots) == BEFORE + HELD + AFTER
    # The kernel takes connections for a process until it has gone: what was sent until then was in flight as well.
    in_flight = [shot for shot in shots if shot.at <= gone and shot.at + shot.seconds >= held]
    failed = [shot for shot in shots if shot.status != 200]
    assert [shot for shot in failed if shot not in in_flight] == []
    assert len(failed) < len(in_flight)  # the other replica had its share of them
    assert failed, "what a replica had begun must not be sent again: it would be paid for twice"
    assert sum(shot.at > gone for shot in shots) > RATE, "too little was sent to the one that was left"
