"""A stand-in for `sluice serve`: the streaming chat API with a delay or an error of choice, as a script."""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class Handler(BaseHTTPRequestHandler):
    options: argparse.Namespace
    answering: ClassVar[set[int]] = set()
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._plain(200 if self.path in ("/readyz", "/healthz", "/version") else 404, b"{}")

    def do_POST(self) -> None:
        self.answering.add(id(self))
        try:
            self._answer()
        finally:
            self.answering.discard(id(self))

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert body["stream"] is True
        time.sleep(self.options.delay)
        if self.options.status != 200:
            self._plain(self.options.status, b"{}")
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("x-sluice-release", self.options.release)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        words = [] if self.options.answer == "empty" else ["It ", "says ", "so."]
        for word in words:
            self._event(json.dumps({"choices": [{"delta": {"content": word}}]}))
        if self.options.answer == "torn":
            self.close_connection = True
            return
        if self.options.answer != "cut":
            self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, payload: str) -> None:
        line = f"data: {payload}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def _plain(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-sluice-release", self.options.release)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def drain() -> None:
    """Finish as a release does: when nothing was in flight for a second, 12 s at most."""
    end, quiet = time.monotonic() + 12, 0
    while quiet < 10 and time.monotonic() < end:
        time.sleep(0.1)
        quiet = 0 if Handler.answering else quiet + 1
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--answer", choices=["whole", "empty", "cut", "torn"], default="whole")
    parser.add_argument("--die", default="")
    options = parser.parse_args()
    if options.die:
        print(options.die)
        sys.exit(7)
    Handler.options = options
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=drain).start())
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
