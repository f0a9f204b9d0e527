"""Serves one release and drains on SIGTERM.

/readyz fails at once, answers in progress finish, and late requests are still answered, because a proxy needs a moment
to notice. The process ends a second after the last request, or at the time limit."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from sluice.core.errors import SluiceError
from sluice.core.processes import require_port
from sluice.retrieval.stores import Stores
from sluice.serving.api_keys import VARIABLE, keys_path
from sluice.serving.auth import KeyRing
from sluice.serving.feedback import FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState, parse_fault
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.routing import load_router
from sluice.serving.runtime import open_runtime
from sluice.serving.telemetry.service_log import logging_of
from sluice.serving.telemetry.settings import SILENT, TelemetrySettings
from sluice.serving.telemetry.telemetry import open_telemetry

_FOREIGN_TRACES = re.compile(r"LANG(SMITH|CHAIN)_TRACING(_V2)?")
_log = logging.getLogger(__name__)
_LOOPBACK = ("127.0.0.1", "localhost")
_QUIET_SECONDS = 1.0
_CUT_SECONDS = 1  # at the end of the drain: for answers that are cut off to be closed
# Longer than proxies keep idle connections (Traefik: 90 s), so that they close them and never meet a closed one.
_KEEP_ALIVE_SECONDS = 120
_MOST_CONNECTIONS = 1024  # open ones; uvicorn answers the next one with 503


def serve(
    bundle: ReleaseBundle,
    host: str,
    port: int,
    *,
    stores: Stores,
    state: Path,
    fault: str | None = None,
    telemetry: TelemetrySettings = SILENT,
    keyless: bool = False,
    parts: Sequence[Callable[..., Any]] = (),
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    # LangChain would send every text to LangSmith, unredacted and past config/telemetry.yaml.
    for name in [name for name in os.environ if _FOREIGN_TRACES.fullmatch(name)]:
        del os.environ[name]
    injected = parse_fault(fault) if fault else None
    keys = None if keyless else KeyRing(keys_path(state))
    _require_safe(host, keys, keys_path(state))
    require_port(port, host)
    # While loading: unwind, so that the store and the model are closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        logging_of(telemetry.logs, bundle.release) as log,
        open_telemetry(telemetry, bundle, state) as told,
        open_runtime(bundle, stores, state) as runtime,
    ):
        log.on_lost = lambda reason, count: told.on_lost("log", reason, count)
        if bundle.other_code:
            _log.warning(
                "%s was made with other code: %d files differ, %s first; /version names them",
                bundle.release,
                len(bundle.other_code),
                bundle.other_code[0],
            )
        traffic = TrafficState()
        app = create_app(
            bundle,
            runtime.application,
            traffic,
            fault=injected,
            telemetry=told,
            providers=runtime.chat,
            keys=keys,
            feedback=FeedbackLog(state / "feedback", told.score),
            router=load_router(),
            parts=parts,
        )
        listen(
            app,
            traffic,
            host,
            port,
            drain_seconds=bundle.service.drain_seconds,
            notice_seconds=bundle.service.notice_seconds,
            before=runtime.application.warm_up,
            ready=ready,
        )


def _require_safe(host: str, keys: KeyRing | None, path: Path) -> None:
    if host in _LOOPBACK:
        return
    if keys is None:
        raise SluiceError(f"{host}: only this machine may be served without keys", remedy=f"use --host {_LOOPBACK[0]}")
    if keys.empty:
        raise SluiceError(
            f"{host}: other machines are served only with keys, and {path} has none in force",
            remedy=f"`sluice keys add NAME`, or name a file that has some in {VARIABLE}, or use --host {_LOOPBACK[0]}",
        )


def listen(
    app: ASGIApp,
    traffic: TrafficState,
    host: str,
    port: int,
    *,
    drain_seconds: float,
    notice_seconds: float = 0,
    before: Callable[[], Awaitable[None]] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        limit_concurrency=_MOST_CONNECTIONS,
        log_config=None,  # the log is one: serving/telemetry/service_log.py
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CUT_SECONDS,
    )
    require_port(port, host)  # loading took seconds; somebody else may have come first
    _DrainingServer(config, traffic, drain_seconds, notice_seconds, before, ready).run()


class _DrainingServer(uvicorn.Server):
    """Drains before its listener closes, unlike uvicorn."""

    def __init__(
        self,
        config: uvicorn.Config,
        traffic: TrafficState,
        seconds: float,
        notice: float,
        before: Callable[[], Awaitable[None]] | None,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._seconds = seconds
        self._notice = notice
        self._before = before
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._before:
            await self._before()
        # What is loaded stays. A full collection that looks at it again stops every answer for a quarter of a second.
        gc.collect()
        gc.freeze()
        gc.set_threshold(700, 10, 10)
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of uvicorn
        if sig == signal.SIGINT:
            self._notice = 0  # a person at a terminal, not a proxy to wait for
        if self._traffic.draining or not self.started:
            self.should_exit = self.force_exit = True
        self._traffic.drain()

    async def on_tick(self, counter: int) -> bool:
        done = self._traffic.drained(_QUIET_SECONDS, self._seconds - _CUT_SECONDS, self._notice)
        return await super().on_tick(counter) or done
