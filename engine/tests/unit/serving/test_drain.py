"""Five times a service with fifty open streams is told to end: not one may be cut."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sluice.core.processes import free_port

ROOT = Path(__file__).parents[4]
ROUNDS, STREAMS = 5, 50
URL = "http://127.0.0.1:{port}"
BODY = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}], "stream": True}
# Forks a service for each port it is told, so that the libraries are loaded once; at the end tells how each one ended.
# No stream ends before its gate is there, so that the signal finds all of them open.
NURSERY = """
import os, sys
from pathlib import Path
from support.serving.fakes import *
pids = []
for line in sys.stdin:
    port, gate = line.split(maxsplit=1)
    pids.append(os.fork())
    if not pids[-1]:
        chat = ScriptedChat(script={"overlap": "Sentence. " * 8}, piece=10, delay=0.01, gate=Path(gate.strip()))
        limits = {"max_body_bytes": 4096, "max_concurrent": 64}
        run_service(int(port), chat, limits=limits, notice_seconds=0, drain_seconds=600)
        os._exit(0)
    print(pids[-1], flush=True)
print(*(os.waitpid(pid, 0)[1] for pid in pids))
"""


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)  # and whatever it has forked
        process.wait(60)


async def _ready(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(180):
        while True:
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)


async def _stream(client: httpx.AsyncClient, url: str, begun: asyncio.Semaphore) -> str:
    text = ""
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=BODY) as response:
            async for line in response.aiter_lines():
                if not text:
                    begun.release()
                text += line
    except httpx.TransportError as error:
        return f"{text} {type(error).__name__}"
    return text


async def _round(pid: int, url: str, gate: Path) -> list[str]:
    """The texts of all streams; the signal is sent while every one of them is open, and they end after it."""
    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:
        await _ready(client, url)
        begun = asyncio.Semaphore(0)
        streams = [asyncio.ensure_future(_stream(client, url, begun)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await asyncio.wait_for(begun.acquire(), 120)
        assert not any(stream.done() for stream in streams), "a stream ended before the signal was sent"
        os.kill(pid, signal.SIGTERM)
        gate.touch()
        return await asyncio.gather(*streams)


@pytest.mark.real
def test_no_stream_is_cut(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    assert nursery.stdin
    assert nursery.stdout
    cut = []
    for number in range(ROUNDS):
        port, gate = free_port(), tmp_path / f"gate-{number}"
        nursery.stdin.write(f"{port} {gate}\n")
        nursery.stdin.flush()
        texts = asyncio.run(_round(int(nursery.stdout.readline()), URL.format(port=port), gate))
        assert len(texts) == STREAMS
        cut += [(number, text[-200:]) for text in texts if text.count("Sentence.") != 8 or "[DONE]" not in text]
    assert cut == []
    nursery.stdin.close()
    assert nursery.stdout.read().split() == ["0"] * ROUNDS
