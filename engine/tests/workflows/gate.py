"""A gate before every step: somebody is asked whether it may begin. Where not, the machine dies at once.

Then the shell of the step and act are killed, and with them all that would still have run, `if: always()` too.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent / "played" / "gate.sh"


@contextmanager
def opened(may_begin: Callable[[str], bool]) -> Iterator[dict[str, str]]:
    """What the steps need in their environment. `may_begin` gets the job's id and the script of the step."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.readline().decode().strip()
            self.wfile.write(b"go\n" if may_begin(asked) else b"die\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield {"BASH_ENV": str(SCRIPT), "PLAYED_GATE": str(server.server_address[1])}
        finally:
            server.shutdown()
            thread.join()
