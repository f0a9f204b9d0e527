"""Server-sent events that close their source, down to the connection to the provider, when the client disconnects."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class EventStream(StreamingResponse):
    """Sends `events`, then closes them and their `source`, also when the client goes away before the first of them.

    Starlette leaves what it iterates open until it is collected as garbage. It would also watch for the client to go
    away, with two tasks of its own; `AdmissionMiddleware` watches already, and cancels the task that is in here.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Any, None], **options: Any) -> None:
        super().__init__(events, **options)
        self._closed_at_the_end = (events, source)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the signature of ASGI
        try:
            await self.stream_response(send)
        finally:
            for generator in self._closed_at_the_end:
                await generator.aclose()
