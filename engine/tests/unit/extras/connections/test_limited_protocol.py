"""A real service on a real socket, and callers without a key who send too much, too slowly, or nothing at all.

Each of them would stop the service, or stay for ever, on uvicorn's own protocol (0.54, httptools 0.9).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from sluice.serving.api_keys import add_key
from unit.serving.process import Service

pytestmark = [pytest.mark.usefixtures("loopback"), pytest.mark.timeout(3600)]  # megabytes take long on a busy machine
HANG = 120.0  # seconds until a test that waits for ever is given up
HALF_OPEN = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{",
}
SHORT = {
    "head_seconds": 30,
    "body_seconds": 30,
    "read_seconds": 15,
}  # and yet enough for honest callers when it is busy
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class KeyedService(Service):
    """A service that asks for keys, and a caller who has one."""

    def __init__(self, state: Path, **limits: object) -> None:
        secret = add_key(state / "keys.json", "honest", tenant=None, scopes=["chat", "metrics"], rate=100_000)
        settings = {"max_body_bytes": 1 << 20, "max_concurrent": 4, "connections": limits}
        super().__init__(settings=f"state={str(state)!r}, limits={settings!r}")
        self.honest = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {secret}"}, timeout=HANG, trust_env=False
        )

    def stop(self) -> None:
        self.honest.close()
        super().stop()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=HANG)

    def answers(self) -> None:
        """Somebody with a key is answered, on a connection of his own."""
        body = {"messages": [{"role": "user", "content": "How much overlap do chunks have?"}]}
        headers = {"connection": "close"}
        assert self.honest.post("/v1/chat/completions", json=body, headers=headers).status_code == 200

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def shed(self, reason: str) -> float:
        page = self.honest.get("/metrics").text
        lines = [line for line in page.splitlines() if line.startswith("sluice_shed_total") and f'"{reason}"' in line]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., KeyedService]]:
    """A service for each set of limits."""
    made: dict[str, KeyedService] = {}

    def service(**limits: object) -> KeyedService:
        name = json.dumps(limits)
        if name not in made:
            made[name] = KeyedService(tmp_path_factory.mktemp("state"), **limits)
        return made[name]

    yield service
    for each in made.values():
        each.stop()


def until_end(connection: socket.socket) -> bytes:
    """What comes until the service ends the connection."""
    found = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    connection.close()
    return found


def until(connection: socket.socket, words: bytes, times: int = 1) -> bytes:
    """What comes until the words have come so often."""
    found = b""
    while found.count(words) < times:
        piece = connection.recv(65536)
        assert piece, found
        found += piece
    return found


def refused(reply: bytes, status: int, code: str) -> bool:
    """Whether it is a refusal, or nothing: a peer that still sends may lose it."""
    if not reply:
        return True
    head, _, body = reply.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 %d " % status) and json.loads(body)["error"]["code"] == code


def test_weakness_2_a_header_of_256_mib_is_refused_within_its_limit(make: Callable[..., KeyedService]) -> None:
    service = make()
    service.answers()
    shed = service.shed("headers_too_large")
    before, sent, piece = service.memory(), 0, b"x" * (1 << 20)
    connection = service.connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
    with suppress(ConnectionError):
        while sent < 256 << 20:
            connection.sendall(piece)
            sent += len(piece)
    assert sent < 64 << 20  # what the kernel's buffers hold, and no more
    assert refused(until_end(connection), 431, "headers_too_large")
    service.answers()
    assert service.memory() - before <= 64 << 20
    assert service.shed("headers_too_large") == shed + 1


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "without an end"])
def test_weakness_2_50000_headers_are_refused(make: Callable[..., KeyedService], whole: bool) -> None:
    service = make()
    before = service.memory()
    connection = service.connect()
    with suppress(ConnectionError):
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(50_000))
        )
        connection.sendall(b"\r\n" if whole else b"")
    assert refused(until_end(connection), 431, "headers_too_large")
    service.answers()
    assert service.memory() - before <= 64 << 20


def test_a_few_headers_too_many_are_refused_and_the_most_are_not(make: Callable[..., KeyedService]) -> None:
    service = make(max_headers=20)
    for number, status in ((18, 200), (19, 431)):
        connection = service.connect()
        headers = b"".join(b"x%d: y\r\n" % n for n in range(number))
        connection.sendall(HEALTH[:-2] + b"Connection: close\r\n" + headers + b"\r\n")
        assert until_end(connection).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "end", [b"1;" + b"x" * (1 << 20), b"0\r\nX-Long: " + b"x" * (1 << 20)], ids=["sizes", "trailers"]
)
def test_what_frames_a_body_has_the_limit_of_headers(make: Callable[..., KeyedService], end: bytes) -> None:
    service = make()
    shed = service.shed("headers_too_large")
    connection = service.connect()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with suppress(ConnectionError):
        connection.sendall(head + b"1\r\n{\r\n" + end)
    reply = until_end(connection)
    assert refused(reply, 431, "headers_too_large") or reply.startswith(b"HTTP/1.1 401 ")
    assert service.shed("headers_too_large") == shed + 1


def test_weakness_3_300_half_open_connections_keep_nobody_out_and_none_stays(make: Callable[..., KeyedService]) -> None:
    service = make(**SHORT)
    service.answers()
    before = service.memory()
    half_open = []
    for number in range(300):
        half_open.append(service.connect())
        with suppress(ConnectionError):  # an early one may have been ended already
            half_open[-1].sendall(list(HALF_OPEN.values())[number % 4])
        if number % 100 == 99:
            service.answers()
    for number, connection in enumerate(half_open):
        reply = until_end(connection)
        assert refused(reply, 408, "request_timeout") or reply.startswith(b"HTTP/1.1 401 "), reply
        assert not reply or number % 4 > 1
    service.answers()
    assert service.memory() - before <= 64 << 20
    # Only the one that asks is there.
    found = psutil.Process(service.process.pid).net_connections("tcp")
    assert len([one for one in found if one.status == psutil.CONN_ESTABLISHED]) <= 1


def test_whoever_has_waited_longest_makes_room(make: Callable[..., KeyedService]) -> None:
    service = make(max_open_of_peer=10, head_seconds=HANG * 2, body_seconds=HANG * 2)
    half_open = [service.connect() for _ in range(30)]
    service.answers()
    for connection in half_open[:20]:
        assert until_end(connection) == b""
    assert service.shed("connections") >= 20
    for connection in half_open:
        connection.close()


def test_weakness_3_a_caller_who_does_not_read_is_ended(make: Callable[..., KeyedService]) -> None:
    service = make(**SHORT)
    too_large = service.shed("headers_too_large")
    connection = service.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(HANG * 10)  # megabytes of replies fill the buffers first, which takes long on a busy machine
    # Of small requests the service reads thousands ahead between two replies, each of which costs it time.
    page = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: %s\r\n\r\n" % (b"x" * 16_000)
    with suppress(ConnectionError):
        while True:  # until the buffers are full of replies, and then of requests
            connection.sendall(page)
    connection.close()
    service.answers()
    assert service.shed("headers_too_large") == too_large  # its headers were not what ended it


def test_honest_use_of_a_connection_is_left_alone(make: Callable[..., KeyedService]) -> None:
    service = make(max_header_bytes=1024)
    connection = service.connect()
    for _ in range(5):  # one after the other, and two at once
        for times in (1, 2):
            connection.sendall(HEALTH * times)
            assert until(connection, b'{"status":"alive"}', times).count(b"HTTP/1.1 200 OK") == times
    # A body may be larger than headers, and come in many pieces.
    body = b" " * 300_000
    connection.sendall(b"POST /v1/feedback HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 50_000):
        connection.sendall(body[start : start + 50_000])
    assert until(connection, b"invalid_api_key").startswith(b"HTTP/1.1 401 ")
    connection.sendall(HEALTH)
    assert until(connection, b'{"status":"alive"}').count(b"HTTP/1.1 200 OK") == 1
    connection.close()
    assert service.shed("headers_too_large") == service.shed("request_timeout") == 0
