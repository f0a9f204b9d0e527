"""The line to the API server of a cluster, which a test cuts: bytes go on as they are, over the loopback address."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

import pytest

from sluice.cluster.manifests import kubectl

_PORTS = {"http": 80, "https": 443}


class ApiLine(ThreadingTCPServer):
    """`to`: host and port of the API server."""

    daemon_threads = True

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.to, self.is_cut = to, False
        self.open: list[socket.socket] = []

    def cut(self, seconds: float) -> None:
        """Ends what is open, and lets nothing through for so long."""
        self.is_cut = True
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.open.clear()
        fixed = threading.Timer(seconds, setattr, (self, "is_cut", False))
        fixed.daemon = True
        fixed.start()


class _Call(BaseRequestHandler):
    server: ApiLine

    def handle(self) -> None:
        if self.server.is_cut:
            return
        with socket.create_connection(self.server.to) as there:
            self.server.open += [self.request, there]
            back = threading.Thread(target=_pass_on, args=(there, self.request), daemon=True)
            back.start()
            _pass_on(self.request, there)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def api_line(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[ApiLine]:
    """From now on KUBECONFIG names a copy of the current context, whose API server is behind the line."""
    words = [kubectl(), "config", "view", "--raw", "--flatten", "--minify", "--output=json"]
    found = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)
    cluster = found["clusters"][0]["cluster"]
    server = urlsplit(cluster["server"])
    with ApiLine((str(server.hostname), server.port or _PORTS[server.scheme])) as line:
        cluster["server"] = server._replace(netloc=f"127.0.0.1:{line.server_address[1]}").geturl()
        if server.scheme == "https":
            cluster.setdefault("tls-server-name", str(server.hostname))
        path = folder / "kubeconfig-line"
        path.touch(mode=0o600)
        path.write_text(json.dumps(found))
        patch.setenv("KUBECONFIG", str(path))
        threading.Thread(target=line.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield line
        finally:
            line.shutdown()
