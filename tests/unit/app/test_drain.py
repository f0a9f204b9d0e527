"""Twenty times a service with fifty open streams is told to end: not one of the thousand may be cut."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from unit.app.process import Service

ROUNDS, STREAMS = 20, 50
# Eight sentences, 60 ms apart: half a second and more, so that the signal finds all of them open.
CHAT = "ScriptedChat(script={'overlap': 'Sentence. ' * 8}, piece=10, delay=0.06)"
LIMITS = "limits={'max_body_bytes': 4096, 'max_concurrent': 64}, notice_seconds=0"
BODY = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}], "stream": True}


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


async def _round(service: Service) -> list[str]:
    """The texts of all streams; the signal is sent while every one of them is open."""
    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.ensure_future(_stream(client, service.url, begun)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await asyncio.wait_for(begun.acquire(), 30)
        assert not any(stream.done() for stream in streams), "a stream ended before the signal was sent"
        service.process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*streams)


@pytest.mark.real
def test_no_stream_is_cut() -> None:
    cut = []
    waiting = Service(CHAT, LIMITS)
    for number in range(ROUNDS):
        service = waiting
        try:
            texts = asyncio.run(_round(service))
            cut += [(number, text[-200:]) for text in texts if text.count("Sentence.") != 8 or "[DONE]" not in text]
            assert service.process.wait(20) == 0
        finally:
            service.stop()
        if number + 1 < ROUNDS:
            waiting = Service(CHAT, LIMITS)
    assert cut == []
