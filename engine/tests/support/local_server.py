"""A server of `socketserver` in a thread that ends with a block, and what is asked and answered over HTTP."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx


@contextmanager
def in_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """`server` answers within the block; afterwards its socket is closed."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, status: int, content: bytes, kind: str = "application/json") -> None:
    """A whole response; `kind`: its Content-Type."""
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def answers(url: str) -> bool:
    """Whether an address of this machine answers with 200."""
    try:
        return httpx.get(url, timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
