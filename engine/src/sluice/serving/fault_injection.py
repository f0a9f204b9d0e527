"""Fault injection for drills: a slow or failing release. Only the chat endpoint is affected; /version shows the fault.

`delay=1.5` waits so many seconds before each answer; `error=0.5` answers that share of the requests with 503. The
failing requests are counted, not random, so a drill gives the same result every time.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from fractions import Fraction

from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.serving.middleware import is_chat
from sluice.serving.replies import error_response

_LONGEST = 600
_USE = "use delay=<seconds> or error=<share between 0 and 1>"


@dataclass(frozen=True)
class InjectedFault:
    """`value`: seconds for a delay, a share for an error."""

    kind: str
    value: Fraction

    def __str__(self) -> str:
        return f"{self.kind}={float(self.value):g}"


def parse_fault(text: str) -> InjectedFault:
    """The fault that `text` asks for; SluiceError when it is not one."""
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
    """Middleware that makes the chat faulty."""

    def __init__(self, app: ASGIApp, fault: InjectedFault) -> None:
        self._app = app
        self._fault = fault
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_chat(scope):
            if self._fault.kind == "delay":
                await asyncio.sleep(float(self._fault.value))
            elif self._fails_next():
                response = error_response(503, f"injected fault {self._fault}", code="injected_fault")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _fails_next(self) -> bool:
        """True for the share `value` of the calls, spread evenly: 1/2 fails every second one."""
        before = math.floor(self._count * self._fault.value)
        self._count += 1
        return math.floor(self._count * self._fault.value) > before
