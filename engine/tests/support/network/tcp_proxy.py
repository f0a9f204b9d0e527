"""A TCP proxy on loopback that can be told to misbehave.

`mode`: `pass`, `refuse` (nobody listens), `reset` (hangs up), `hang` (passes nothing on), `slow` (each piece of an
answer waits `delay` seconds) or `garbage`; it holds for open connections too."""

import contextlib
import socket
import threading
import time
from typing import Self

from sluice.core.processes import free_port

Address = str | tuple[str, int]


class Proxy:
    def __init__(self, target: Address) -> None:
        self._target = target
        self._mode = "pass"
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._closed = False
        self.delay = 0.0
        self.port = free_port()  # of this process, also while nobody listens there

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._stop_listening()
        self._hang_up()

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        if mode in ("refuse", "reset"):
            self._stop_listening()
            self._hang_up()
        if mode != "refuse" and self._listener is None:
            self._listen()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _hang_up(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self._mode == "reset":
                client.close()
                continue
            family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
            server = socket.socket(family)
            server.connect(self._target)
            self._open += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                while self._mode == "hang" and not self._closed:
                    time.sleep(0.02)
                if answers and self._mode == "slow":
                    time.sleep(self.delay)
                if answers and self._mode == "garbage":
                    piece = b"\xff nonsense \x00" * 20
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
