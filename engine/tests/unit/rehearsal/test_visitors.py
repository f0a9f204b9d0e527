from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluice.core.processes import wait_until
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec
from sluice.rehearsal.visitors import Visit, VisitorTraffic, count, visit

pytestmark = pytest.mark.usefixtures("loopback")


def test_failures_that_the_canary_did_not_answer_are_outside_its_share() -> None:
    visits = [Visit("a", ""), Visit("b", "status 503"), Visit("c", "status 502"), Visit("d", "refused")]
    traffic = count(visits, {"a": "stable", "b": "canary", "c": "stable"})
    assert (traffic.requests, traffic.to_canary, traffic.failed, traffic.failed_outside_canary) == (4, 1, 3, 2)
    assert traffic.failures == {"canary: status 503": 1, "stable: status 502": 1, "nobody: refused": 1}


def test_a_visitor_stays_to_the_end_of_the_body() -> None:
    """Traefik 3 copies a request once its answer is through, if the visitor is still there."""
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = b'data: {"choices": [{"delta": {"content": "So."}}]}\n\ndata: [DONE]\n\n'
    went: list[bool] = []

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while b'"stream"' not in connection.recv(1 << 16):
                pass
            connection.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(events), events))
            went.append(bool(select.select([connection], [], [], 1)[0]))
            connection.sendall(b"0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        answered = pool.submit(answer, server)
        found = visit(f"http://127.0.0.1:{server.getsockname()[1]}", "Why?", timeout=60)
        answered.result(60)
    assert (found.error, went) == ("", [False])


def test_visitors_ask_until_they_are_told_to_stop(stub: Callable[..., ReleaseServiceSpec], tmp_path: Path) -> None:
    service = ReleaseService("stable", stub("r-1"), state=tmp_path)
    try:
        service.wait_ready(60)
        with VisitorTraffic(service.url, ["Why?"], timeout=60) as visitors:
            assert wait_until(lambda: len(visitors.visits) >= 2, seconds=60)
        seen = len(visitors.visits)
        assert {v.error for v in visitors.visits} == {""}
        assert len({v.request_id for v in visitors.visits}) == seen
        time.sleep(1.2)
        assert len(visitors.visits) == seen
    finally:
        service.stop()
