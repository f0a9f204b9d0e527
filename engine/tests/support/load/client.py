"""HTTP/1.1 by hand, for tests that make much load: an ordinary client would cost more than the service it measures."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request; underscores in names of headers become dashes."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}", f"content-length: {len(body)}"]
    lines += ["content-type: application/json"] if body else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Line:
    """One connection, one request at a time. Errors of the network are OSError or asyncio.IncompleteReadError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = False

    @property
    def open(self) -> bool:
        """Whether it can be used again: a server closes what has been idle for long."""
        return not self._closed and not self._reader.at_eof()

    @classmethod
    async def to(cls, port: int) -> Line:
        return cls(*await asyncio.open_connection(HOST, port))

    async def ask(self, what: bytes) -> Reply:
        """Sends a request and reads the whole answer."""
        self._writer.write(what)
        head = await self.head()
        body = b""
        if "chunked" in head.headers.get("transfer-encoding", ""):
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
        else:
            body = await self._reader.readexactly(int(head.headers.get("content-length", "0")))
        if head.headers.get("connection") == "close":
            self.close()
        return Reply(head.status, head.headers, body)

    async def head(self) -> Reply:
        """The status and the headers of the next answer."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return Reply(int(lines[0].split(" ")[1]), headers, b"")

    async def begin(self, what: bytes) -> None:
        """Sends a request whose answer is not waited for."""
        self._writer.write(what)
        await self._writer.drain()

    def close(self) -> None:
        self._closed = True
        self._writer.close()


class Lines:
    """Connections to one port that are used again; there are as many as requests at one time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Line] = []

    async def ask(self, what: bytes, *, fresh: bool = False) -> Reply:
        """`fresh`: on a connection of its own."""
        line = None if fresh else self._take()
        line = line or await Line.to(self._port)
        try:
            reply = await line.ask(what)
        except BaseException:
            line.close()
            raise
        if fresh:
            line.close()
        elif line.open:
            self._idle.append(line)
        return reply

    def _take(self) -> Line | None:
        """The one that was used last, of those that are still open."""
        while self._idle:
            line = self._idle.pop()
            if line.open:
                return line
            line.close()
        return None

    async def __aenter__(self) -> Lines:
        return self

    async def __aexit__(self, *_: Any) -> None:
        for line in self._idle:
            line.close()
