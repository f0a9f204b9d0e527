"""A service that asks nobody for a key is for this machine alone, and not for the pages that a browser on it shows.

The address keeps other machines out, but a page may have its reader's browser send requests to 127.0.0.1, and where its
owner lets a name of his own lead there (DNS rebinding) it may read the answers too. So the name that was asked has to
be one of this machine, and a page one that came from here. In plain ASGI.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from sluice.serving.replies import error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Loopback:
    """403 where the header `Host` is not a name of this machine, or `Origin` is another place than `Host`. What is no
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
    """Who may not ask; empty for those who may."""
    host, origins = "", []
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1").lower()
        elif name == b"origin":
            origins.append(value.decode("latin-1").lower())
    if not _is_loopback(_name(host)):
        return f"whoever asks for the host {host!r}"
    return next((f"a page of {origin!r}" for origin in origins if origin.partition("://")[2] != host), "")


def _name(authority: str) -> str:
    """The host of `host`, `host:port` or `[address]:port`."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _is_loopback(host: str) -> bool:
    """Whether a name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
