"""Authentication as plain ASGI: key, scope and rate limit, before any expensive work.

Without keys only local, same-origin requests are accepted. A web page can make a browser send requests to 127.0.0.1,
and with DNS rebinding read the replies, so `Host` must be a name of this machine and `Origin` must match it."""

from __future__ import annotations

import hmac
import logging
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from sluice.core.errors import SluiceError
from sluice.serving.api_keys import VARIABLE, ApiKey, digest_of_key, id_of, read_keys
from sluice.serving.replies import error_response
from sluice.serving.routing import RouteTable

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?")  # `host`, `host:port`, `[address]:port`


class LoopbackMiddleware:
    """Answers 403 unless `Host` is a name of this machine and `Origin`, which only browsers send, matches it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else ""
        if refusal:
            message = f"{refusal} may not use a service without keys; `sluice keys add NAME` makes one"
            await error_response(403, message, code="not_this_machine")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal(scope: Connection) -> str:
    headers = Headers(scope=scope)
    host = ",".join(headers.getlist("host")).lower()  # two are no name
    found = _HOST.fullmatch(host)
    if found is None or not _is_loopback(found[1] or found[2]):
        return f"a caller that asks for the host {host!r}"
    origins = [origin.lower() for origin in headers.getlist("origin")]
    return next((f"a page of {origin!r}" for origin in origins if origin.partition("://")[2] != host), "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


_log = logging.getLogger(__name__)
_EVERY = 1.0
_CALLER = "sluice.caller"
KEYLESS = b"keyless"  # signs where only this machine may ask, and every process of it is trusted


@dataclass(frozen=True)
class Caller:
    """The key's name, both None without keys, and the secret that signs the ids of its answers."""

    key: str | None = None
    tenant: str | None = None
    signing: bytes = field(default=KEYLESS, repr=False)


def caller_of(scope: Connection) -> Caller:
    return scope.get(_CALLER) or Caller()


class KeyRing:
    """The keys in force. A change of the file counts within a second; an invalid file leaves the last valid one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.signing = KEYLESS
        self._by_id: dict[str, ApiKey] = {}
        self._seen: tuple[int, ...] | None = None
        self._next_look = 0.0
        self.required = False
        try:
            self._read(self._stamp())
        except OSError as error:
            raise SluiceError(
                f"{path}: cannot be read: {error.strerror}", remedy=f"let this user read it, or correct {VARIABLE}"
            ) from None

    @property
    def empty(self) -> bool:
        return not self._by_id

    def refresh(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _EVERY
        stamp = self._seen
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._read(stamp)
        except (SluiceError, OSError) as error:
            self._seen = stamp  # so that it is said once
            _log.error("the keys before stay in force: %s", error)

    def find(self, presented: str) -> ApiKey | None:
        """Find the key that was presented, in the same time for a wrong one as for a right one."""
        number = id_of(presented)
        key = self._by_id.get(number) if number else None
        same = hmac.compare_digest(digest_of_key(presented), key.sha256 if key else "0" * 64)
        return key if same else None

    def _read(self, stamp: tuple[int, ...] | None) -> None:
        if stamp is None and self.required:
            raise SluiceError(f"{self._path}: no such file")
        file = read_keys(self._path)
        self._by_id = {key.id: key for key in file.in_force}
        if stamp is not None:
            self.signing = file.signing.encode() if file.signing else secrets.token_bytes(32)
            if not file.signing:
                _log.warning("%s: has no `signing`, so other replicas take no feedback; `sluice keys add`", self._path)
        self._seen = stamp
        self.required = stamp is not None

    def _stamp(self) -> tuple[int, ...] | None:
        # A mounted Secret changes by another link: the file behind it is another one.
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)


class TokenBucket:
    """Allows `rate` requests a minute on average, and as many at once after a quiet minute."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._tokens = float(rate)
        self._at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self.rate, self._tokens + (now - self._at) * self.rate / 60)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def headers(self) -> dict[str, str]:
        full_in = math.ceil((self.rate - self._tokens) * 60 / self.rate)
        return {
            "x-ratelimit-limit-requests": str(self.rate),
            "x-ratelimit-remaining-requests": str(int(self._tokens)),
            "x-ratelimit-reset-requests": f"{full_in}s",
        }

    @property
    def next_in(self) -> int:
        return max(1, math.ceil((1 - self._tokens) * 60 / self.rate))


class AuthMiddleware:
    """Answers 401 without a valid key, 403 without the scope, 429 over the rate.

    Rates are counted in this process: with N replicas a key has up to N times its rate. `keyless` answers while there
    are no keys."""

    def __init__(
        self, app: ASGIApp, keyless: ASGIApp, keys: KeyRing, routes: RouteTable, shed: Callable[[str], None]
    ) -> None:
        self._app = app
        self._routes = routes
        self._keyless = keyless
        self._shed = shed
        self._keys = keys
        self._buckets: dict[str, TokenBucket] = {}

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._keys.refresh()
        access = self._routes.find(scope)
        if not self._keys.required or access.open:
            app = self._app if self._keys.required else self._keyless
            await app(scope, receive, send)
            return
        kind, presented = get_authorization_scheme_param(Headers(scope=scope).get("authorization"))
        presented = presented.strip() if kind.lower() == "bearer" else ""
        key = self._keys.find(presented) if presented else None
        if key is None:
            said = "this key is not known, or has been revoked" if presented else "an API key is needed"
            headers = {"www-authenticate": 'Bearer realm="sluice"'}
            message = f"{said}: send `Authorization: Bearer <key>`"
            await error_response(401, message, code="invalid_api_key", headers=headers)(scope, receive, send)
            return
        if access.scope and access.scope not in key.scopes:
            message = f"the key {key.name!r} lacks the scope {access.scope!r}"
            await error_response(403, message, code="missing_scope")(scope, receive, send)
            return
        bucket = self._bucket(key)
        passes = bucket.take()
        headers = bucket.headers()
        if not passes:
            self._shed("rate_limit")
            message = f"the key {key.name!r} has used up its {bucket.rate} requests a minute"
            headers["retry-after"] = str(bucket.next_in)
            await error_response(429, message, code="rate_limit_exceeded", headers=headers)(scope, receive, send)
            return
        scope[_CALLER] = Caller(key.name, key.tenant, self._keys.signing)
        await self._app(scope, receive, _with_headers(send, headers))

    def _bucket(self, key: ApiKey) -> TokenBucket:
        bucket = self._buckets.get(key.id)
        if bucket is None or bucket.rate != key.rate:
            bucket = self._buckets[key.id] = TokenBucket(key.rate)
        return bucket


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    raw = Headers(headers).raw

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] += raw
        await send(message)

    return marked
