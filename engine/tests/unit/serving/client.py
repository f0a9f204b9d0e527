"""Questions to an application in this process: as the engine runs it, and over its API without a socket."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from sluice.serving.answer import Answer
from sluice.serving.runner import ApplicationRunner
from support import event_loop

CHAT = "/v1/chat/completions"
OVERLAP = "How much overlap do chunks have?"


def stream(
    runner: ApplicationRunner, question: str = OVERLAP, *, held: Callable[[], bool] = lambda: False
) -> tuple[list[str], Answer]:
    """The pieces of an answer, and the whole. The clock of its time limit stands still while `held` says so."""

    async def read() -> list[Any]:
        return [item async for item in runner.stream([{"role": "user", "content": question}])]

    *pieces, answer = event_loop.run(read(), held=held)
    return pieces, answer


class Client:
    """A few requests to one app, each on an event loop of its own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return asyncio.run(one())

    def get(self, path: str) -> httpx.Response:
        return self.send("GET", path)

    def chat(self, question: str = OVERLAP, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": question}], **fields}
        return self.send("POST", CHAT, json=body, headers=headers)
