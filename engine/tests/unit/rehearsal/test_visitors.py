import select
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluice.rehearsal.visitors import Visit, count, visit

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
