"""The protocol without a socket, with timers that a test lets run out: what ends a connection, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from sluice.extras.connections.connection_table import ConnectionTable
from sluice.extras.connections.limited_protocol import LimitedProtocol
from sluice.serving.settings import ConnectionSettings

GET, SLOW = (b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % name for name in (b"fast", b"slow"))
LIMITS = {"head_seconds": 1, "body_seconds": 2, "read_seconds": 3, "max_header_bytes": 1024, "max_headers": 4}


class Timer:
    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds = seconds
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Connection:
    """One connection to an application whose path /slow waits for `gate`; also its transport and its loop's clock."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.timers: list[Timer] = []
        self.sent, self.closed, self.aborted = b"", False, False
        self.shed: list[str] = []
        self.table = ConnectionTable(ConnectionSettings.model_validate(LIMITS), self.shed.append)
        config = Config(self._app, interface="asgi3", lifespan="off", access_log=False, log_config=None)  # type: ignore[arg-type]
        config.load()
        self.state = ServerState()
        loop: Any = self
        self.protocol = LimitedProtocol(
            table=self.table, config=config, server_state=self.state, app_state={}, _loop=loop
        )
        transport: Any = self
        self.protocol.connection_made(transport)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - the signature of ASGI
        if scope["path"] == "/slow":
            await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def get(self, data: bytes) -> None:
        """Data of the peer, and all that follows from it."""
        self.protocol.data_received(data)
        for _ in range(10):
            await asyncio.sleep(0)

    def run_out(self, seconds: float) -> bool:
        """Lets the timer of so many seconds run out; whether there was one."""
        for timer in self.timers:
            if not timer.cancelled and timer.seconds == seconds:
                timer.cancelled = True
                timer.call()
                return True
        return False

    @property
    def waits(self) -> bool:
        return self.protocol in self.table._waiting

    # The loop and the transport, as uvicorn needs them.
    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def test_a_connection_on_which_nothing_is_asked_ends_without_a_word() -> None:
    async def run() -> None:
        for data in (b"", b"\r\n\r\n"):
            connection = Connection()
            await connection.get(data)
            assert connection.run_out(1)
            assert (connection.aborted, connection.sent, connection.shed) == (True, b"", [])

    asyncio.run(run())


def test_empty_lines_after_an_answer_do_not_keep_a_connection() -> None:
    async def run() -> None:
        connection = Connection()
        await connection.get(GET)
        assert not connection.run_out(1)
        await connection.get(b"\r\n")
        assert connection.run_out(1)
        assert connection.aborted

    asyncio.run(run())


def test_half_a_head_and_half_a_body_end_with_408() -> None:
    async def run() -> None:
        for data, seconds in ((GET[:9], 1), (b"POST /slow HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", 2)):
            connection = Connection()
            await connection.get(data)
            assert connection.run_out(seconds)
            assert connection.sent.startswith(b"HTTP/1.1 408 ")
            assert connection.sent.endswith(b'"code":"request_timeout"}}')
            assert (connection.closed, connection.shed) == (True, ["request_timeout"])
            connection.protocol.connection_lost(None)
            connection.gate.set()

    asyncio.run(run())


def test_a_request_that_is_being_answered_has_no_time_limit_here() -> None:
    async def run() -> None:
        connection = Connection()
        await connection.get(GET + SLOW)  # the second was sent ahead
        assert connection.sent.count(b"200 OK") == 1
        assert not connection.waits
        assert not any(connection.run_out(seconds) for seconds in (1, 2, 3))
        await connection.get(b"\r\n")
        assert not connection.run_out(1)
        connection.gate.set()
        await connection.get(b"")
        assert connection.sent.count(b"200 OK") == 2
        assert connection.waits
        connection.protocol.connection_lost(None)
        assert not connection.waits

    asyncio.run(run())


def test_who_does_not_read_is_ended_and_who_does_is_not() -> None:
    async def run() -> None:
        connection = Connection()
        connection.protocol.pause_writing()
        connection.protocol.resume_writing()
        assert not connection.run_out(3)
        connection.protocol.pause_writing()
        assert connection.run_out(3)
        assert connection.aborted

    asyncio.run(run())


def test_long_and_many_headers_end_with_431() -> None:
    async def run() -> None:
        long = b"GET / HTTP/1.1\r\nX: " + b"y" * 1500
        for pieces in (
            (long, b"y" * 1500),
            (long + b"\r\n\r\n",),
            (b"GET /" + b"y" * 1500, b"y" * 1500),
            (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5 + b"\r\n",),
            (b"POST /slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nX: " + b"y" * 1500),
            (b"POST /slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"y" * 1500),
        ):
            connection = Connection()
            for piece in pieces:
                await connection.get(piece)
            assert connection.sent.startswith(b"HTTP/1.1 431 "), pieces
            assert (connection.closed, connection.shed) == (True, ["headers_too_large"])
            connection.protocol.connection_lost(None)
            connection.gate.set()

    asyncio.run(run())


def test_a_body_has_no_limit_here() -> None:
    async def run() -> None:
        connection = Connection()
        await connection.get(b"POST /slow HTTP/1.1\r\nContent-Length: 90000\r\n\r\n")
        for _ in range(9):
            await connection.get(b"x" * 10_000)
        connection.gate.set()
        await connection.get(b"")
        assert connection.sent.startswith(b"HTTP/1.1 200 ")
        assert connection.shed == []

    asyncio.run(run())
