"""The HTTP client below the providers: one long-lived aiohttp session, POST requests, the reply as blocks of bytes.

httpx was measured too: it is most of the cost of passing an answer on (engine/docs/decisions/below-langchain.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl

from sluice.llm.provider_failures import FailureKind, ProviderError, by_status, retry_after

_KEEP_ALIVE_SECONDS = 15  # idle connections; servers that close theirs sooner say so, and the pool notices
_ERROR_BYTES = 1 << 16
_REST_SECONDS = 0.5  # after the last event: for the end of the body, so that the connection can be used again


class HttpClient:
    """Connections to one provider. The session belongs to an event loop and ends with it."""

    def __init__(self, *, connections: int, connect_seconds: float) -> None:
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._open: dict[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[None, None]]] = {}

    def post(self, url: PostAddress, body: bytes, headers: Mapping[str, str], *, deadline: float) -> HttpExchange:
        """Use it as `async with client.post(…) as reply`. `deadline`: a time of the event loop's clock."""
        return HttpExchange(self, url, body, headers, deadline)

    async def session(self, socket: str | None = None) -> aiohttp.ClientSession:
        """The session of the running event loop. `socket`: path of the Unix socket that all its requests go to."""
        loop = asyncio.get_running_loop()
        if (there := self._open.get(loop)) is not None:
            return there[0]
        options: dict[str, Any] = {"limit": self._connections, "keepalive_timeout": _KEEP_ALIVE_SECONDS}
        session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket, **options) if socket else aiohttp.TCPConnector(**options),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", "user-agent": "sluice"},  # a compressed stream comes in lumps
            timeout=self._timeout,
        )
        life = self._life(loop, session)
        self._open[loop] = (session, life)
        await anext(life)
        return session

    async def _life(
        self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession
    ) -> AsyncGenerator[None, None]:
        """Open as long as the loop: what runs a loop closes its open generators at the end, so nobody has to call."""
        try:
            yield
        finally:
            del self._open[loop]
            await session.close()


class PostAddress(NamedTuple):
    """Where to post: through which proxy of the environment, or to which Unix socket, if any."""

    url: yarl.URL
    proxy: str | None
    socket: str | None = None


def address(url: str) -> PostAddress:
    """The proxy is looked up once, here: aiohttp would read the environment again for every request.

    `unix:///folder/name.sock/path` is the path of a server that listens on that socket."""
    if url.startswith("unix://"):
        socket, suffix, path = url.removeprefix("unix://").partition(".sock")
        return PostAddress(yarl.URL(f"http://localhost{path}", encoded=True), None, socket + suffix)
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return PostAddress(yarl.URL(url, encoded=True), proxy)


class HttpExchange:
    """One request and its reply. Leaving it before the end of the reply closes the connection."""

    def __init__(
        self, client: HttpClient, where: PostAddress, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> None:
        self._client = client
        self._where = where
        self._body = body
        self._headers = headers
        self._deadline = deadline
        self._response: aiohttp.ClientResponse

    async def __aenter__(self) -> Self:
        url, proxy, socket = self._where
        session = await self._client.session(socket)
        try:
            async with asyncio.timeout_at(self._deadline):
                self._response = await session.post(
                    url, data=self._body, headers=self._headers, proxy=proxy, allow_redirects=False
                )
                if self._response.status != 200:
                    raise await self._refusal()
        except (aiohttp.ClientError, OSError) as error:
            raise _fault(error) from error
        return self

    async def read(self) -> bytes:
        """All that has arrived, at least one byte; empty at the end of the reply."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _fault(error) from error

    async def finish(self) -> None:
        """Call it after the last event: reads the end of the body, which is nearly always there already."""
        content = self._response.content
        try:
            async with asyncio.timeout(_REST_SECONDS):
                while not content.is_eof():
                    await content.readany()
        except (aiohttp.ClientError, OSError):  # the answer is whole; only the connection is of no more use
            self._response.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()  # of a reply that was read to its end nothing is left to close

    async def _refusal(self) -> ProviderError:
        headers = self._response.headers
        try:
            body = await self._response.content.read(_ERROR_BYTES)
        finally:
            self._response.close()
        kind = headers.get("x-amzn-errortype", "").partition(":")[0] or _codes(body)
        return by_status(self._response.status, kind, retry_after(headers.get("retry-after")))


def _codes(body: bytes) -> str:
    """Type and code out of an error object: never its message, which may quote a key or the question."""
    import json

    try:
        found: Any = json.loads(body)["error"]
        return ", ".join(str(found[key])[:60] for key in ("type", "code") if found.get(key))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _fault(error: Exception) -> ProviderError:
    name = type(error).__name__
    if isinstance(error, aiohttp.ServerTimeoutError):
        return ProviderError(FailureKind.UNREACHABLE, f"no connection in time ({name})")
    if isinstance(error, TimeoutError):
        return ProviderError(FailureKind.DEADLINE, "no whole answer before the deadline")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return ProviderError(FailureKind.GARBAGE, f"the reply cannot be read ({name})")
    return ProviderError(FailureKind.UNREACHABLE, f"the connection failed ({name})")
