"""One release as a process: `serve` loads it, listens on loopback, and on SIGTERM drains before it ends.

Draining: /readyz is false at once, answers in progress finish, and requests that still arrive are answered, because a
proxy needs a moment to notice. The process ends when it has been quiet for a second, or when the time is up.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from sluice.app.api import create_app
from sluice.app.bundle import Bundle
from sluice.app.faults import parse_fault
from sluice.app.middleware import Traffic
from sluice.app.runtime import open_runtime
from sluice.app.telemetry.logs import logging_of
from sluice.app.telemetry.settings import SILENT, TelemetrySettings
from sluice.app.telemetry.telemetry import open_telemetry
from sluice.core.errors import SluiceError
from sluice.core.processes import require_port
from sluice.retrieval.stores import Stores

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LOOPBACK = ("127.0.0.1", "localhost")
_QUIET_SECONDS = 1.0
_CUT_SECONDS = 1  # at the end of the drain: for answers that are cut off to be closed
# Longer than proxies keep idle connections (Traefik: 90 s), so that they close them and never meet a closed one.
_KEEP_ALIVE_SECONDS = 120


def serve(
    bundle: Bundle,
    host: str,
    port: int,
    *,
    stores: Stores,
    state: Path,
    fault: str | None = None,
    telemetry: TelemetrySettings = SILENT,
) -> None:
    """Serves until SIGTERM or SIGINT, then returns. SluiceError before anything is loaded when it cannot work."""
    injected = parse_fault(fault) if fault else None
    if host not in _LOOPBACK:
        raise SluiceError(
            f"{host}: only this machine may be served, keys are not configured", remedy=f"use --host {_LOOPBACK[0]}"
        )
    require_port(port, host)
    signal.signal(signal.SIGTERM, _leave)  # while loading: unwind, so that the store and the model are closed
    with (
        logging_of(telemetry.logs, bundle.release) as log,
        open_telemetry(telemetry, bundle, state) as told,
        open_runtime(bundle, stores, state) as runtime,
    ):
        log.on_lost = told.log_lost
        traffic = Traffic()
        app = create_app(bundle, runtime.chain, traffic, fault=injected, telemetry=told, providers=runtime.chat)
        listen(app, traffic, host, port, drain_seconds=bundle.service.drain_seconds, before=runtime.chain.warm_up)


def listen(
    app: ASGIApp,
    traffic: Traffic,
    host: str,
    port: int,
    *,
    drain_seconds: float,
    before: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Runs the server until it has drained. `before` is awaited first, on the server's own event loop."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # the log is one: app/telemetry/logs.py
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CUT_SECONDS,
    )
    require_port(port, host)  # loading took seconds; somebody else may have come first
    _Server(config, traffic, drain_seconds, before).run()


class _Server(uvicorn.Server):
    """uvicorn closes its listener at once on a signal; this one drains first, and ends with status 0."""

    def __init__(
        self, config: uvicorn.Config, traffic: Traffic, seconds: float, before: Callable[[], Awaitable[None]] | None
    ) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._seconds = seconds
        self._before = before

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._before:
            await self._before()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of uvicorn
        if self._traffic.draining or not self.started:
            self.should_exit = self.force_exit = True
        self._traffic.drain()

    async def on_tick(self, counter: int) -> bool:
        done = self._traffic.drained(_QUIET_SECONDS, self._seconds - _CUT_SECONDS)
        return await super().on_tick(counter) or done


def _leave(sig: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    sys.exit(0)
