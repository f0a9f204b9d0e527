"""Requests that are cut, repeated, swapped and overwritten, byte by byte, against a service on a real socket.

Schemathesis sends well-formed HTTP; here HTTP itself is broken too. Whatever comes, the service answers it, or ends the
connection because there is no request in it, and goes on.
"""

import json
import random
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

_ODD: tuple[bytes, ...] = (
    b"\x00", b"\r\n", b"\n\n", b"\xff\xfe", b"%00", b"%%", b"\\ud800", b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Host: evil.example\r\n", b"HTTP/9.9", b"*", b"//", b"/../",
    b"9" * 400, b"[" * 300, b"a" * 2000,
)  # fmt: skip


def fuzz_socket(port: int, authorization: str, cases: int, *, seed: int) -> Counter[str]:
    """Sends so many broken requests, each on a connection of its own, and fails at an answer that is 5xx or none.
    Returns how many were answered with which status; `ended`: the connection was ended without an answer."""
    rng, seen = random.Random(seed), Counter[str]()
    for number in range(cases):
        request = _broken(rng, authorization)
        reply = _answer(port, request)
        status = reply[9:12].decode("ascii", "replace") if reply else "ended"
        assert not reply or reply.startswith(b"HTTP/1.1 "), (seed, number, request, reply)
        assert not status.startswith("5"), (seed, number, request, reply)
        seen[status] += 1
    return seen


def _answer(port: int, request: bytes) -> bytes:
    """All that comes until the service ends the connection, as it does when no more is sent."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection, suppress(ConnectionError):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            found += piece
    return found


def _broken(rng: random.Random, authorization: str) -> bytes:
    body = json.dumps(rng.choice(_BODIES)).encode()
    path = rng.choice((b"/v1/chat/completions", b"/v1/feedback", b"/v1/models", b"/metrics", b"/healthz", b"/nowhere"))
    head = (
        b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    )
    method = rng.choice((b"POST", b"POST", b"GET", b"PUT", b"HEAD", b"OPTIONS", b"TRACE"))
    request = head % (method, path, authorization.encode(), len(body)) + body
    for _ in range(rng.randint(0, 4)):
        request = _change(rng, request)
    return request


def _change(rng: random.Random, request: bytes) -> bytes:
    start, end = sorted((rng.randrange(len(request) + 1), rng.randrange(len(request) + 1)))
    end = min(end, start + 40)
    way = rng.randrange(4)
    if way == 0:
        return request[:start] + rng.choice(_ODD) + request[start:]
    if way == 1:
        return request[:start] + rng.choice(_ODD) + request[end:]
    if way == 2:
        return request[:end] + request[start:]
    return request[:start] + request[end:] or b"\r\n"


_BODIES: Sequence[object] = (
    {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]},
    {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}], "stream": True},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "How much overlap do chunks have?"}]}]},
    {"messages": [{"role": "user", "content": [{"type": ["text"]}]}]},
    {"messages": [], "n": 2, "tools": [{}], "temperature": 9, "metadata": {"a": 1}},
    {"trace_id": "0" * 48, "score": 1, "comment": "Good."},
    {"trace_id": ["x"], "score": "1", "release": {}},
    [[[[[[]]]]]],
    None,
)
