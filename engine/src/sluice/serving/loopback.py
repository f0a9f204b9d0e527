"""Without API keys, only local, same-origin requests are accepted (against DNS rebinding and cross-site requests).

The loopback address keeps other machines out, but any web page can make a browser send requests to 127.0.0.1, and with
DNS rebinding it can read the responses too. So `Host` must be a name of this machine, and `Origin` must match it. In
plain ASGI.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.serving.replies import error_response

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?")  # `host`, `host:port`, `[address]:port`


class LoopbackMiddleware:
    """403 where the header `Host` is not a name of this machine, or `Origin` differs from `Host`. What is no
    browser sends no `Origin`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else ""
        if refusal:
            message = f"{refusal} may not use a service without keys; `sluice keys add NAME` makes one"
            await error_response(403, message, code="not_this_machine")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal(scope: Scope) -> str:
    """The reason for a refusal; empty when the request is allowed."""
    headers = Headers(scope=scope)
    host = ",".join(headers.getlist("host")).lower()  # two are no name
    found = _HOST.fullmatch(host)
    if found is None or not _is_loopback(found[1] or found[2]):
        return f"a caller that asks for the host {host!r}"
    origins = [origin.lower() for origin in headers.getlist("origin")]
    return next((f"a page of {origin!r}" for origin in origins if origin.partition("://")[2] != host), "")


def _is_loopback(host: str) -> bool:
    """Whether a name or address can only mean this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
