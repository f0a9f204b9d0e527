"""Requests to an application in this process, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

CHAT = "/v1/chat/completions"
OVERLAP = "How much overlap do chunks have?"


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
