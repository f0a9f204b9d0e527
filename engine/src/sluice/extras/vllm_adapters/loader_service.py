"""The loader as a process beside vLLM: passes one after the other, and what they found over HTTP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CollectorRegistry, make_asgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from sluice.extras.vllm_adapters.adapter_loader import AdapterLoader

_log = logging.getLogger(__name__)


class LoaderMetrics(Collector):
    """What Prometheus reads of a loader."""

    def __init__(self, loader: AdapterLoader) -> None:
        self._loader = loader

    def collect(self) -> Iterator[GaugeMetricFamily]:
        ready = GaugeMetricFamily("sluice_vllm_ready", "Whether vLLM has every adapter that it must have")
        ready.add_metric([], float(self._loader.ready))
        yield ready
        adapters = GaugeMetricFamily("sluice_vllm_adapters", "Adapters of releases that are alive", labels=["state"])
        states = [status.state for status in dict(self._loader.states).values()]
        for state in ("registered", "waiting", "refused"):
            adapters.add_metric([state], states.count(state))
        yield adapters


def create_loader_app(loader: AdapterLoader, alive: Callable[[], bool]) -> Starlette:
    """`/healthz`, `/readyz`, `/adapters` and `/metrics`. `alive`: whether passes are still made."""

    def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok") if alive() else PlainTextResponse("no passes are made any more", 503)

    def readiness(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ready") if loader.ready else PlainTextResponse(loader.fault or "adapters wait", 503)

    def adapters(_: Request) -> JSONResponse:
        return JSONResponse({name: status._asdict() for name, status in dict(loader.states).items()})

    registry = CollectorRegistry()
    registry.register(LoaderMetrics(loader))
    routes = [Route("/healthz", health), Route("/readyz", readiness), Route("/adapters", adapters)]
    return Starlette(routes=[*routes, Mount("/metrics", make_asgi_app(registry))])


def run_loader(loader: AdapterLoader, host: str, port: int, *, every: float) -> None:
    """Makes passes and answers until SIGTERM."""
    ended = threading.Event()

    def passes() -> None:
        while not ended.wait(every):
            loader.run_once()

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    loader.run_once()
    thread = threading.Thread(target=passes, name="adapters", daemon=True)
    thread.start()
    try:
        uvicorn.run(create_loader_app(loader, thread.is_alive), host=host, port=port, log_config=None, access_log=False)
    finally:
        ended.set()
