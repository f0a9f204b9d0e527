"""Around the API, as plain ASGI: the release header and the counting of every response, and the limits of the chat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sluice.app.replies import error_response
from sluice.app.settings import LimitSettings
from sluice.app.telemetry import traces

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sluice.app.metrics import Metrics
    from sluice.app.telemetry.telemetry import Telemetry

CHAT = "/v1/chat/completions"
HEADER = "x-sluice-release"
TRACE_HEADER = "x-sluice-trace"
_ROUTES = {CHAT, "/v1/models", "/healthz", "/readyz", "/version", "/metrics"}


def is_chat(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["path"] == CHAT and scope["method"] == "POST")


class Traffic:
    """What is going on: questions in flight, and whether the service is on its way out."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.draining_since: float | None = None
        self._last_end = 0.0

    @property
    def draining(self) -> bool:
        return self.draining_since is not None

    def drain(self) -> None:
        if self.draining_since is None:
            self.draining_since = time.monotonic()

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        self._last_end = time.monotonic()

    def drained(self, quiet: float, at_most: float) -> bool:
        """While draining: nothing was in flight for `quiet` seconds, or `at_most` seconds have passed."""
        if self.draining_since is None:
            return False
        now = time.monotonic()
        idle = self.in_flight == 0 and now - max(self._last_end, self.draining_since) >= quiet
        return idle or now - self.draining_since >= at_most


class Instrument:
    """Outermost, so that errors of every layer carry the release too."""

    def __init__(self, app: ASGIApp, release: str, metrics: Metrics, traffic: Traffic, telemetry: Telemetry) -> None:
        self._app = app
        self._release = release.encode()
        self._metrics = metrics
        self._traffic = traffic
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        trace = self._telemetry.begin(scope)
        token = traces.enter(trace)

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [
                    *message.get("headers", []),
                    (HEADER.encode(), self._release),
                    (TRACE_HEADER.encode(), trace_id),
                ]
                if self._traffic.draining:
                    headers.append((b"connection", b"close"))  # a proxy must not reuse it: the listener closes soon
                message = {**message, "headers": headers}
            await send(message)

        started = time.perf_counter()
        trace_id = trace.trace_id.encode()
        trace.route = route = scope["path"] if scope["path"] in _ROUTES else "other"
        try:
            await self._app(scope, receive, marked)
        except BaseException as error:
            trace.fail(type(error).__name__)
            raise
        finally:
            traces.leave(token)
            self._metrics.request(route, status, time.perf_counter() - started)
            self._metrics.trace(trace)
            self._telemetry.finish(trace, status, chat=is_chat(scope))


class Limits:
    """Chat requests only: the size of the body, and how many are in flight until the end of their answers."""

    def __init__(self, app: ASGIApp, limits: LimitSettings, traffic: Traffic) -> None:
        self._app = app
        self._limits = limits
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_chat(scope):
            await self._app(scope, receive, send)
            return
        largest = self._limits.max_body_bytes
        body = await _read_body(scope, receive, largest)
        if body is None:
            message = f"the body is larger than {largest} bytes"
            await error_response(413, message, code="request_too_large")(scope, receive, send)
        elif self._traffic.in_flight >= self._limits.max_concurrent:
            message = f"{self._limits.max_concurrent} requests are being answered already; try again soon"
            headers = {"retry-after": "1"}
            await error_response(429, message, code="too_many_requests", headers=headers)(scope, receive, send)
        else:
            self._traffic.enter()
            try:
                await self._app(scope, _replay(body, receive), send)
            finally:
                self._traffic.leave()


async def _read_body(scope: Scope, receive: Receive, largest: int) -> bytes | None:
    """The whole body, or None when it is too large; what is declared too large is not read at all."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > largest:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > largest:
            return None
        if not message.get("more_body", False):  # the end of the body, or the client has gone
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body in one message, then waits for the client to go."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
