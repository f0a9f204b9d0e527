"""ASGI middleware around the API: release header, request metrics, traffic and draining, injected faults.

Faults are for drills of the chat: `delay=1.5` waits so many seconds before each answer; `error=0.5` answers that share
of the requests with 503. They are counted, not drawn, so a drill gives the same result every time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.serving.replies import error_response
from sluice.serving.telemetry import traces

if TYPE_CHECKING:
    from sluice.serving.routing import RouteTable
    from sluice.serving.service_metrics import ServiceMetrics
    from sluice.serving.telemetry.telemetry import Telemetry


CHAT = "/v1/chat/completions"
HEADER = "x-sluice-release"
FEEDBACK = "/v1/feedback"
TRACE_HEADER = "x-sluice-trace"
_ANSWERS = frozenset({CHAT, "/v1/responses", "/mcp"})  # the last two are of the extra `clients`


def is_chat(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["path"] in _ANSWERS and scope["method"] == "POST")


class TrafficState:
    def __init__(self) -> None:
        self.in_flight = 0
        self.draining_since: float | None = None
        self._last_end = self._looked = 0.0

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

    def drained(self, quiet: float, at_most: float, at_least: float = 0) -> bool:
        if self.draining_since is None:
            return False
        now, looked = time.monotonic(), self._looked
        self._looked = now
        if now - looked > quiet / 2:  # the process stood still: what has come meanwhile is not taken in yet
            self._last_end = now
        passed = now - self.draining_since
        idle = self.in_flight == 0 and now - max(self._last_end, self.draining_since) >= quiet
        return (idle and passed >= at_least) or passed >= at_most


class InstrumentationMiddleware:
    def __init__(
        self, app: ASGIApp, metrics: ServiceMetrics, traffic: TrafficState, telemetry: Telemetry, routes: RouteTable
    ) -> None:
        self._app = app
        self._routes = routes
        self._metrics = metrics
        self._traffic = traffic
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        head = scope["method"] == "HEAD"
        scope = {**scope, "method": "GET"} if head else scope  # answered as GET is, without the body
        trace = self._telemetry.begin(scope, chat=is_chat(scope))
        token = traces.CURRENT.set(trace)

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.append(HEADER, self._telemetry.facts.release)
                headers.append(TRACE_HEADER, trace.trace_id)
                if self._traffic.draining:
                    headers.append("connection", "close")  # a proxy must not reuse it: the listener closes soon
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        started = time.perf_counter()
        trace.route = route = self._routes.find(scope).label
        try:
            await self._app(scope, receive, marked)
        except BaseException as error:
            trace.fail(type(error).__name__)
            raise
        finally:
            traces.CURRENT.reset(token)
            self._metrics.request(route, status, time.perf_counter() - started)
            self._metrics.trace(trace)
            self._telemetry.finish(trace, status)


_LONGEST = 600
_USE = "use delay=<seconds> or error=<share between 0 and 1>"


@dataclass(frozen=True)
class InjectedFault:
    """`value` is in seconds for a delay, a share for an error."""

    kind: str
    value: Fraction

    def __str__(self) -> str:
        return f"{self.kind}={float(self.value):g}"


def parse_fault(text: str) -> InjectedFault:
    kind, _, figure = text.partition("=")
    limits = {"delay": _LONGEST, "error": 1}
    if kind not in limits:
        raise SluiceError(f"fault {text!r}: no fault {kind!r}{nearest(kind, list(limits))}", remedy=_USE)
    try:
        value = Fraction(figure)
    except (ValueError, ZeroDivisionError):
        raise SluiceError(f"fault {text!r}: {figure!r} is not a number", remedy=_USE) from None
    if not 0 < value <= limits[kind]:
        raise SluiceError(f"fault {text!r}: {figure} is not above 0 and at most {limits[kind]}", remedy=_USE)
    return InjectedFault(kind, value)


class FaultMiddleware:
    def __init__(self, app: ASGIApp, fault: InjectedFault) -> None:
        self._app = app
        self._fault = fault
        self._count = Fraction(0)  # the share of the requests so far that fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_chat(scope):
            if self._fault.kind == "delay":
                await asyncio.sleep(float(self._fault.value))
            elif self._fails():
                response = error_response(503, f"injected fault {self._fault}", code="injected_fault")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _fails(self) -> bool:
        self._count += self._fault.value
        return self._count % 1 < self._fault.value
