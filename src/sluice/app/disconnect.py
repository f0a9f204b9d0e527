"""Ends the work for a client that went away: what it asked for is cancelled, down to the connection to the provider.

A server tells it by a message, `http.disconnect`, that nobody reads while an answer is being made; so it is read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from sluice.app.replies import error_response
from sluice.core.errors import SluiceError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_STATUS = 499  # nobody sees it but the metrics: the number that proxies use for a client that went away


class ClientGoneError(SluiceError):
    """The client closed the connection before it had its answer."""


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancels the block when the client goes away, and raises ClientGoneError. The body must have been read before."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:  # else somebody else cancels too, and wins
            raise ClientGoneError("the client went away") from None
        raise
    finally:
        watcher.cancel()


def add_gone_shape(api: FastAPI) -> None:
    """What is answered into the void."""

    @api.exception_handler(ClientGoneError)
    async def gone(_: Request, error: ClientGoneError) -> Response:
        return error_response(_STATUS, error.message, code="client_gone")


class EventStream(StreamingResponse):
    """Sends `events`, then closes them and their `source`, also when the client goes away before the first of them.

    Starlette leaves what it iterates open until it is collected as garbage.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Any, None], **options: Any) -> None:
        super().__init__(events, **options)
        self._closed_at_the_end = (events, source)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for generator in self._closed_at_the_end:
                await generator.aclose()
