"""Callers without a key who hold connections open, and send headers without end: whether a caller with a key is
answered meanwhile, what it costs in memory, and what is left a minute later.

    .venv/bin/python engine/benchmarks/half_open.py [--write]

The service is a process of its own with stubs for model and search, and the limits that a release has by default.
`--write` puts the table into engine/docs/figures/connections.md. Takes three minutes. Ends with 1 when a limit is
missed.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

import httpx
import psutil
from figures import Figure, show, table, write_between

from support.load.service import QUESTION, SteadyService

PAGE = Path("engine/docs/figures/connections.md")
HALF_OPEN = (
    b"",
    b"\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{",
)
CONNECTIONS = 300
HELD = 5.0  # seconds
LEFT_AFTER = 60.0
EVERY = 0.1
BODY_SECONDS = 30.0  # as long as the half-open ones last
NOTHING = "none, to compare with"
LEAST = 20  # questions while it lasts: a short attack comes again
HANG = 120.0
MOST_SECONDS, MOST_MIB = 1.0, 64


@dataclass
class Caller:
    """Asks with a key, each time on a connection of its own, until it is told to stop; `waits` in seconds."""

    service: SteadyService
    waits: list[float] = field(default_factory=list)
    refused: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        body = json.dumps({"messages": [{"role": "user", "content": QUESTION}]})
        headers = {"authorization": self.service.authorization, "content-type": "application/json"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.service.port}", timeout=HANG, trust_env=False, headers=headers
        ) as client:
            while not self.over.is_set():
                began = time.monotonic()
                try:
                    reply = client.post("/v1/chat/completions", content=body, headers={"connection": "close"})
                    self.refused += reply.status_code != 200
                except httpx.TransportError:
                    self.refused += 1
                self.waits.append(time.monotonic() - began)
                self.over.wait(EVERY)


@contextmanager
def asking(service: SteadyService) -> Iterator[Caller]:
    caller = Caller(service)
    thread = threading.Thread(target=caller.ask)
    thread.start()
    try:
        yield caller
    finally:
        caller.over.set()
        thread.join()


def connect(service: SteadyService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=HANG)


def until_end(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass


def hold(service: SteadyService) -> None:
    """300 half-open connections; the service ends them, and they are left to it."""
    held = []
    for number in range(CONNECTIONS):
        held.append(connect(service))
        with suppress(ConnectionError):
            held[-1].sendall(HALF_OPEN[number % len(HALF_OPEN)])
    time.sleep(HELD)
    for connection in held:
        with closing(connection):
            until_end(connection)


def long_header(service: SteadyService) -> None:
    piece = b"x" * (1 << 20)
    with closing(connect(service)) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        for _ in range(256):
            connection.sendall(piece)
        until_end(connection)


def many_headers(service: SteadyService) -> None:
    lines = b"".join(b"x%d: y\r\n" % number for number in range(50_000))
    with closing(connect(service)) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + b"\r\n")
        until_end(connection)


def nothing(service: SteadyService) -> None:  # noqa: ARG001 - what it is compared with has one
    time.sleep(BODY_SECONDS)


ATTACKS: dict[str, Callable[[SteadyService], None]] = {
    NOTHING: nothing,
    f"{CONNECTIONS} half-open connections": hold,
    "a header of 256 MiB": long_header,
    "50,000 headers": many_headers,
}


def established(service: SteadyService) -> int:
    found = psutil.Process(service.process.pid).net_connections("tcp")
    return sum(one.status != psutil.CONN_LISTEN for one in found)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, figures = [], []
    with tempfile.TemporaryDirectory() as folder, SteadyService(Path(folder), seconds=0) as service:
        with asking(service):  # what is made once
            time.sleep(HELD)
        before, files = service.rss, service.descriptors
        for name, attack in ATTACKS.items():
            service.forget_peak()
            with asking(service) as caller:
                while len(caller.waits) < LEAST:
                    attack(service)
            worst, grown = max(caller.waits), (service.peak - before) / 1024
            rows.append((name, str(len(caller.waits)), str(caller.refused), f"{worst:.3f} s", f"{grown:.1f} MiB"))
            if name == NOTHING:
                continue
            good = worst <= MOST_SECONDS and not caller.refused
            figures.append((f"{name}: a caller with a key waits", f"{worst:.3f} s", f"<= {MOST_SECONDS:g} s", good))
            figures.append(("memory grows by", f"{grown:.1f} MiB", f"<= {MOST_MIB} MiB", grown <= MOST_MIB))
        time.sleep(LEFT_AFTER)
        left, more, kept = established(service), service.descriptors - files, (service.rss - before) / 1024
    found: list[Figure] = [
        *figures,
        ("connections a minute later", str(left), "0", left == 0),
        ("more open files than before", str(more), "<= 0", more <= 0),
        ("memory that is kept", f"{kept:.1f} MiB", f"<= {MOST_MIB} MiB", kept <= MOST_MIB),
    ]
    if options.write:
        attacks = table(("attack", "questions meanwhile", "not answered", "longest wait", "memory grew by"), rows)
        after = table(
            ("a minute later", "found", "must be"), [(name, value, limit) for name, value, limit, _ in found[-3:]]
        )
        write_between(PAGE, "half-open", f"{attacks}\n\n{after}")
    return show(found)


if __name__ == "__main__":
    sys.exit(main())
