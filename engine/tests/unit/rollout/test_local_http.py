from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sluice.core.processes import free_port
from sluice.rollout.chat_stream import request

pytestmark = pytest.mark.usefixtures("loopback")


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("X-Sluice-Release", "r-1")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_status_is_an_answer_and_proxies_are_ignored(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    missing = request(f"{address}/nothing", timeout=60)
    assert (missing.status_code, missing.headers["x-sluice-release"]) == (404, "r-1")


def test_no_answer_is_an_os_error() -> None:
    with pytest.raises(OSError, match="refused"):
        request(f"http://127.0.0.1:{free_port()}/", timeout=60)
