"""uvicorn's HTTP/1.1 with limits of what a connection may cost before its request is there whole.

uvicorn 0.54 with httptools 0.9 has none of them: no limit of headers, no time limit for head, body, or a caller who
does not read. All of that comes before a key could be looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sluice.extras.connections.connection_table import ConnectionTable
from sluice.serving.openapi import ErrorDetail, ErrorReply
from sluice.serving.settings import ConnectionSettings

# Reason (code and label), status, message.
_TOO_LARGE = ("headers_too_large", 431, "the request line and the headers are too long, or too many")
_TOO_LATE = ("request_timeout", 408, "the request did not come in time")
_NO_ROOM = ("connections", 503, "all connections are in use; try again soon")


def limited_protocol(limits: ConnectionSettings, shed: Callable[[str], None]) -> Callable[..., asyncio.Protocol]:
    """What makes the protocol of a connection, as uvicorn calls it.

    Args:
        limits: of config/service.yaml.
        shed: is told why a connection was refused or ended.
    """
    return partial(LimitedProtocol, table=ConnectionTable(limits, shed))


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Its request is `in_head` until the headers are there, also before it begins."""

    def __init__(self, *args: Any, table: ConnectionTable, **options: Any) -> None:
        super().__init__(*args, **options)
        self.peer = ""
        self._table = table
        self._limits = table.limits
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._begun = False
        self._unparsed = 0  # bytes since the parser was last done with something
        self._refused = False

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        if self._table.enter(self):
            self._expect(self._limits.head_seconds)
        else:
            self._refuse(_NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._stop_writing_timer()
        self._table.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._idle and self._read_timer is None:  # also for empty lines before a request: no callback tells of them
            self._expect(self._limits.head_seconds)
        self._unparsed += len(data)
        super().data_received(data)
        if self._begun and self._unparsed > self._limits.max_header_bytes:
            self._shed(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = self._in_head = True
        self._unparsed = 0  # what came before in this piece is another request's
        self._expect(self._limits.head_seconds)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.max_header_bytes or len(self.headers) > self._limits.max_headers:
            self._shed(_TOO_LARGE)
            raise ValueError(_TOO_LARGE[0])  # ends the parser
        self._in_head = False
        self._unparsed = 0
        self._expect(self._limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0  # so that what frames a body is limited too: sizes of chunks, headers at the end
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._begun, self._in_head = False, True
        self._unparsed = 0
        self._expect(None)
        if not self._idle:
            self._table.answers(self)

    def on_response_complete(self) -> None:
        another = bool(self.pipeline)  # sent ahead; the base class begins with it
        super().on_response_complete()
        if not another:
            self._table.waits(self)

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_writing_timer()
        self._write_timer = self.loop.call_later(self._limits.read_seconds, self.give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_writing_timer()

    def give_up(self) -> None:
        """Ends it without a word."""
        self._refused = True
        self.transport.abort()

    def _stop_writing_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect(self, seconds: float | None) -> None:
        """Begins the time limit of what is read next; None ends it."""
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._read_timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._read_timer = None
        if self.flow.read_paused:  # what is missing waits for us
            self._expect(self._limits.body_seconds)
        elif self._begun:
            self._shed(_TOO_LATE)
        else:  # nothing was asked, so nothing is said: browsers open connections ahead
            self.give_up()

    def _shed(self, why: tuple[str, int, str]) -> None:
        self._table.shed(why[0])
        self._refuse(why)

    def _refuse(self, why: tuple[str, int, str]) -> None:
        """Says why, where no answer has begun, and ends the connection."""
        code, status, message = why
        self._refused = True
        self._expect(None)
        if self._idle if self._in_head else not self.cycle.response_started:
            kind: Any = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
            error = ErrorDetail(message=message, type=kind, param=None, code=code)
            body = ErrorReply(error=error).model_dump_json().encode()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
