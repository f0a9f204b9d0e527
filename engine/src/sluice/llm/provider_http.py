"""The HTTP client of OpenAI-compatible servers, on aiohttp. It is cheaper than OpenAI's SDK and httpx
(engine/docs/decisions/below-langchain.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl

from sluice.llm.provider_failures import FailureKind, ProviderError, by_status, retry_after

T = TypeVar("T")


class LoopResource(Generic[T]):
    """A resource for each event loop, entered at its first use there and left at the end of the loop.

    `opening` can't be a generator: the loop would close that one too, at the same time."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._opening = opening
        self._open: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[T, None]]] = {}
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    async def get(self) -> T:
        loop = asyncio.get_running_loop()
        if (there := self._open.get(loop)) is not None:
            return there[0]
        async with self._locks.setdefault(loop, asyncio.Lock()):
            if loop not in self._open:
                life = self._life(loop)
                self._open[loop] = (await anext(life), life)
            return self._open[loop][0]

    async def _life(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[T, None]:
        """Hold the resource until the loop ends, which closes its open generators."""
        try:
            async with self._opening() as resource:
                yield resource
        finally:
            self._open.pop(loop, None)
            self._locks.pop(loop, None)


_KEEP_ALIVE_SECONDS = 15  # idle connections; servers that close theirs sooner say so, and the pool notices
_ERROR_BYTES = 1 << 16
_REST_SECONDS = 0.5  # after the last event: for the end of the body, so that the connection can be used again


class HttpClient:
    """At most `connections` to one address. `unix:///folder/name.sock/path` is a path of a server on that socket."""

    def __init__(self, url: str, headers: Mapping[str, str], *, connections: int, connect_seconds: float) -> None:
        self._socket = None
        if url.startswith("unix://"):
            socket, suffix, path = url.removeprefix("unix://").partition(".sock")
            url, self._socket = f"http://localhost{path}", socket + suffix
        self.url = yarl.URL(url, encoded=True)
        self.proxy = None if self._socket else _proxy(url)
        # A compressed stream would come in lumps.
        self._headers = {"accept-encoding": "identity", "user-agent": "sluice", **headers}
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self.sessions = LoopResource(self._session)

    @asynccontextmanager
    async def post(self, body: bytes, *, deadline: float) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        """Send a request; each call of the reader gives what has arrived of the reply, b"" at its end.

        `deadline` is a time of the event loop's clock. Leaving by an exception closes the connection."""
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout_at(deadline):
                session = await self.sessions.get()
                response = await session.post(self.url, data=body, proxy=self.proxy, allow_redirects=False)
                if response.status != 200:
                    raise await _refusal(response)
            content = response.content

            async def read() -> bytes:
                async with asyncio.timeout_at(deadline):
                    return await content.readany()

            yield read
            await _finish(response)
        except (aiohttp.ClientError, OSError) as error:
            raise _fault(error) from error
        finally:
            if response is not None:
                response.close()  # of a reply that was read to its end nothing is left to close

    def _session(self) -> aiohttp.ClientSession:
        # llama.cpp closes a connection after a stream without having said so: the next request on it would be lost.
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(self._socket, limit=self._connections, force_close=True)
            if self._socket
            else aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=self._headers, timeout=self._timeout
        )


def _proxy(url: str) -> str | None:
    """The proxy of the environment, looked up once: aiohttp would read the environment again for every request."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read the end of the body, which is nearly always there, so that the connection can be used again."""
    try:
        async with asyncio.timeout(_REST_SECONDS):
            while not response.content.is_eof():
                await response.content.readany()
    except (aiohttp.ClientError, OSError):
        pass  # the answer is whole; only the connection is of no more use


async def _refusal(response: aiohttp.ClientResponse) -> ProviderError:
    """Keep only the numbers of an error object's message: it may quote a key or the question."""
    codes = said = ""
    try:
        found: Any = json.loads(await response.content.read(_ERROR_BYTES))["error"]
        codes = ", ".join(str(found[key])[:60] for key in ("type", "code") if found.get(key))
        said = str(found.get("message"))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # not OpenAI's error object
    return by_status(response.status, codes, retry_after(response.headers.get("retry-after")), said=said)


def _fault(error: Exception) -> ProviderError:
    name = type(error).__name__
    if isinstance(error, aiohttp.ServerTimeoutError):
        return ProviderError(FailureKind.UNREACHABLE, f"no connection in time ({name})")
    if isinstance(error, TimeoutError):
        return ProviderError(FailureKind.DEADLINE, "no complete answer before the deadline")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return ProviderError(FailureKind.GARBAGE, f"the reply cannot be read ({name})")
    return ProviderError(FailureKind.UNREACHABLE, f"the connection failed ({name})")
