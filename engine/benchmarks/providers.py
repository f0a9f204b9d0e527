"""The client side of a model call: ours, LangChain's ChatOpenAI, and bare aiohttp as the bound, in one run.

    .venv/bin/python engine/benchmarks/providers.py      # 20 s; the ratios count, not the requests a second

The upstream is a stub in a process of its own that answers from memory: 32 events for a stream. 16 requests are in
flight at a time. Ours always asks for a stream and collects it where a whole answer is wanted, with breaker, places,
deadline and cost around it; bare aiohttp parses nothing.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvloop

from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.resilience import open_chat
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters

SECONDS = 2.0
CONCURRENCY = 16
MESSAGES = [{"role": "user", "content": "What is the capital of France? " * 30}]
PARAMETERS = ModelParameters.model_validate({})
SENTENCE = (
    "Paris is the capital of France. " + "The stub always says the same, so that everybody handles the same. " * 3
)
USAGE = {"prompt_tokens": 210, "completion_tokens": 64, "total_tokens": 274}
One = Callable[[], Awaitable[None]]


def _answers() -> tuple[bytes, list[bytes]]:
    """The whole answer as one response, and the parts of the streamed one."""
    frame = {"id": "chatcmpl-stub", "created": 1, "model": "stub"}
    message = {"role": "assistant", "content": SENTENCE}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**frame, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
    head = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\n{}\r\n\r\n"
    whole = head.format("application/json", f"content-length: {len(body)}").encode() + body

    def event(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return {**frame, "object": "chat.completion.chunk", "choices": choices}

    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": f"token{number} "}) for number in range(29)]
    events += [event({}, "stop"), {**frame, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}]
    parts = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in events] + [b"data: [DONE]\n\n"]
    chunked = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
    return whole, [head.format("text/event-stream", "transfer-encoding: chunked").encode(), *chunked]


class Stub(asyncio.Protocol):
    """HTTP as far as it is needed here; a path with `hang` in it is never answered."""

    whole, parts = _answers()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
        if not end or len(body) < int(length or 0):
            return
        self.buffer = b""
        if b"hang" in head.split(b"\r\n", 1)[0]:
            return
        if b'"stream": true' in body or b'"stream":true' in body:
            for part in self.parts:
                self.transport.write(part)
        else:
            self.transport.write(self.whole)


def serve(port: Any) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


def entry(base_url: str) -> dict[str, Any]:
    """The stub as an entry of config/providers.yaml."""
    return {
        "name": "stub",
        "kind": "openai_compatible",
        "model": "stub",
        "base_url": base_url,
        "timeouts": {"connect": 2, "queue": 5, "first_token": 30},
        "retries": 1,
        "max_concurrency": 64,
        "breaker": {"window": 20, "failures": 10, "open_seconds": 5},
        "prices": {"input": 0.15, "output": 0.6},
    }


def spec(base_url: str, **changes: Any) -> ProviderSpec:
    return ProviderSpec.model_validate(entry(base_url) | changes)


def ours(url: str) -> One:
    chat = open_chat([spec(url)], local_url=None)

    async def one() -> None:
        deadline = asyncio.get_running_loop().time() + 30
        text = ""
        async for delta in chat.stream(MESSAGES, PARAMETERS, deadline=deadline):
            text += delta.text
        assert text.endswith("token28 ")

    return one


def langchain(url: str, *, stream: bool) -> One:
    from langchain_openai import ChatOpenAI

    model: Any = ChatOpenAI(model="stub", base_url=url, api_key="none", max_retries=0, stream_usage=True)  # type: ignore[arg-type]

    async def one() -> None:
        if not stream:
            assert (await model.ainvoke(MESSAGES)).content
            return
        text = ""
        async for chunk in model.astream(MESSAGES):
            text += chunk.text
        assert text.endswith("token28 ")

    return one


def bare(session: aiohttp.ClientSession, url: str, *, stream: bool) -> One:
    body = json.dumps({"model": "stub", "messages": MESSAGES, "stream": stream}).encode()

    async def one() -> None:
        async with session.post(f"{url}/chat/completions", data=body) as reply:
            if not stream:
                assert await reply.read()
                return
            last = b""
            async for block in reply.content.iter_any():
                last = block
            assert last

    return one


async def rate(one: One) -> float:
    """Requests a second."""
    await asyncio.gather(*(one() for _ in range(CONCURRENCY)))
    done, until = 0, time.perf_counter() + SECONDS

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await one()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return done / (time.perf_counter() - began)


async def overshoot(url: str, deadline: float) -> float:
    """Milliseconds after the deadline at which the last of many requests to a hanging upstream was given up."""
    chat = open_chat([spec(f"{url}/hang", retries=3, name="first"), spec(f"{url}/hang")], local_url=None)

    async def one() -> float:
        end = asyncio.get_running_loop().time() + deadline
        try:
            async for _ in chat.stream(MESSAGES, PARAMETERS, deadline=end):
                pass
        except ProviderError as error:
            if error.failure is not FailureKind.DEADLINE:
                raise
        return (asyncio.get_running_loop().time() - end) * 1000

    return max(await asyncio.gather(*(one() for _ in range(50))))


async def measure(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        print("| client | whole answers /s | to LangChain | streams /s | to LangChain |\n|---|---|---|---|---|")
        our = ours(url)
        base = [await rate(langchain(url, stream=stream)) for stream in (False, True)]
        rows = {
            "bare aiohttp (the bound)": [await rate(bare(session, url, stream=stream)) for stream in (False, True)],
            "Sluice": [await rate(our) for _ in (False, True)],
            "LangChain ChatOpenAI": base,
        }
        for name, (whole, streamed) in rows.items():
            print(f"| {name} | {whole:,.0f} | {whole / base[0]:.1f} | {streamed:,.0f} | {streamed / base[1]:.1f} |")
    late = await overshoot(url, 0.5)
    print(f"\n50 requests to a hanging upstream, deadline 500 ms: the last one ended {late:.0f} ms late")


def main() -> int:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    stub = context.Process(target=serve, args=(there,), daemon=True)
    stub.start()
    try:
        uvloop.run(measure(here.recv()))
    finally:
        stub.terminate()
        stub.join()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
