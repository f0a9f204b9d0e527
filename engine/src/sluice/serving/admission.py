"""Admission control as plain ASGI: maximum body size, concurrent answers, and a bounded queue.

An overloaded service refuses at once: a client that gets 503 within a millisecond can go elsewhere."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice.serving.middleware import TrafficState, is_chat
from sluice.serving.replies import error_response
from sluice.serving.settings import LimitSettings

_GONE = 499  # never sent; the metrics count it


class AdmissionQueue:
    """At most `many` concurrent answers and `queued` requests that wait, first in, first out."""

    def __init__(self, many: int, queued: int) -> None:
        self._permits = asyncio.Semaphore(many)
        self._most = many + queued
        self.taken = self.waiting = 0

    @property
    def full(self) -> bool:
        return self.taken + self.waiting >= self._most

    async def take(self, seconds: float) -> bool:
        """Wait for a permit, at most so many seconds; return it with `free`."""
        if self.full:
            return False
        waits = self._permits.locked()
        self.waiting += waits
        try:
            async with asyncio.timeout(seconds if waits else None):
                await self._permits.acquire()
        except TimeoutError:
            return False
        finally:
            self.waiting -= waits
        self.taken += 1
        return True

    def free(self) -> None:
        self.taken -= 1
        self._permits.release()


class AdmissionMiddleware:
    """Answers 413 to a large body. For the chat: 503 when full, and cancellation when the client disconnects."""

    def __init__(self, app: ASGIApp, limits: LimitSettings, traffic: TrafficState, shed: Callable[[str], None]) -> None:
        self._app = app
        self._limits = limits
        self._traffic = traffic
        self._shed = shed
        self._queue = AdmissionQueue(limits.max_concurrent, limits.max_queued)

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        chat = is_chat(scope)
        if chat and self._queue.full:  # before the body is read: to refuse costs nothing
            await self._refuse("queue_full", scope, receive, send)
            return
        largest = self._limits.max_body_bytes
        try:
            body = await _read_body(scope, receive, largest)
        except ClientDisconnect:
            await error_response(_GONE, "the caller has gone")(scope, receive, send)
            return
        if body is None:
            message = f"the body is larger than {largest} bytes"
            await error_response(413, message, code="request_too_large")(scope, receive, send)
        elif chat:
            await self._while_wanted(scope, body, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _while_wanted(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer until the client disconnects, so that the model never works for a lost client."""
        begun = whole = False

        async def watched(message: Message) -> None:
            nonlocal begun, whole
            begun = True
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        gone = asyncio.ensure_future(receive())  # after the whole body only one message can come
        work = asyncio.ensure_future(self._in_turn(scope, _replay(body, lambda: asyncio.shield(gone)), watched))
        try:
            await asyncio.wait((gone, work), return_when=asyncio.FIRST_COMPLETED)
            if whole:  # a server says "gone" after a whole answer too
                await work
        finally:
            gone.cancel()
            abandoned = work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            if not abandoned:
                raise
            if not begun:
                await error_response(_GONE, "the caller has gone")(scope, receive, send)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._traffic.enter()
        try:
            if not await self._queue.take(self._limits.queue_seconds):
                await self._refuse("queue_timeout", scope, receive, send)
                return
            try:
                await self._app(scope, receive, send)
            finally:
                self._queue.free()
        finally:
            self._traffic.leave()

    async def _refuse(self, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._shed(reason)
        message = f"{self._queue.taken} answers are in progress and {self._queue.waiting} wait; try again soon"
        # By then everyone in the queue has been answered or refused.
        headers = {"retry-after": f"{math.ceil(self._limits.queue_seconds)}"}
        await error_response(503, message, code="overloaded", headers=headers)(scope, receive, send)


async def _read_body(scope: Scope, receive: Receive, largest: int) -> bytes | None:
    """Return the whole body, or None if it is too large; a body that is declared too large isn't read."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > largest:
        return None
    body = bytearray()
    async for block in Request(scope, receive).stream():
        body += block
        if len(body) > largest:
            return None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
