"""The loader's HTTP process beside vLLM, and waiting until every loader has a release's adapter."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from prometheus_client import CollectorRegistry, Gauge, make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.adapter_loader import AdapterLoader
from sluice.extras.vllm_adapters.peft_form import FOLDER
from sluice.extras.vllm_adapters.providers.vllm import KIND
from sluice.llm.model_files import Models
from sluice.llm.settings import load_providers
from sluice.release.manifest import load

_REMEDY = "`kubectl logs deployment/vllm -c adapters` says what the loader does"


def create_loader_app(loader: AdapterLoader, alive: Callable[[], bool]) -> Starlette:
    """Serve `/healthz`, `/readyz`, `/adapters` and `/metrics`; `alive` tells if passes still run."""

    def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok") if alive() else PlainTextResponse("no passes are made any more", 503)

    def readiness(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ready") if loader.ready else PlainTextResponse(loader.fault or "adapters wait", 503)

    def adapters(_: Request) -> JSONResponse:
        return JSONResponse({name: status._asdict() for name, status in dict(loader.states).items()})

    def count(state: str) -> int:
        return sum(status.state == state for status in dict(loader.states).values())

    registry = CollectorRegistry()
    ready = Gauge("sluice_vllm_ready", "Whether vLLM has every adapter that it must have", registry=registry)
    ready.set_function(lambda: loader.ready)
    states = Gauge("sluice_vllm_adapters", "Adapters of releases that are alive", ["state"], registry=registry)
    for state in ("registered", "waiting", "refused"):
        states.labels(state).set_function(partial(count, state))
    routes = [Route("/healthz", health), Route("/readyz", readiness), Route("/adapters", adapters)]
    return Starlette(routes=[*routes, Mount("/metrics", make_asgi_app(registry))])


def run_loader(loader: AdapterLoader, host: str, port: int, *, every: float) -> None:
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


def await_adapter(folder: Path, loaders: str, *, seconds: float, show: Callable[[str], None]) -> str:
    manifest = load(folder)
    providers = load_providers(folder / "config" / "providers.yaml", roles=Models.roles())
    if not any(spec.kind == KIND for spec in providers.chat):
        return f"{manifest.id} asks no vLLM"
    if manifest.adapter is None:
        return f"{manifest.id} has no adapter: it asks the base model"
    if not any(name.startswith(f"{FOLDER}/") for name in manifest.files):
        raise SluiceError(f"{manifest.id}: no adapter for vLLM is pinned", remedy="make the release again")
    end, told = time.monotonic() + seconds, ""
    while True:
        missing = [f"{where}: {what}" for where, what in _answers(loaders, manifest.id) if what != "registered"]
        if not missing:
            return f"{manifest.id} is registered"
        if time.monotonic() > end:
            raise SluiceError(f"{manifest.id}: after {seconds:.0f} s: {'; '.join(missing)}", remedy=_REMEDY)
        if told != missing[0]:
            told = missing[0]
            show(told)
        time.sleep(1)


def _answers(loaders: str, release: str) -> Iterator[tuple[str, str]]:
    """Return each loader's address and the adapter's state; raise SluiceError if it is refused."""
    parts = urlsplit(loaders)
    host, port = str(parts.hostname), parts.port or 80
    try:
        found = {one[4][0] for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        yield loaders, "no vLLM is ready"  # a headless Service without an endpoint has no address
        return
    for address in sorted(map(str, found)):
        where = f"http://{f'[{address}]' if ':' in address else address}:{port}/adapters"
        try:
            state: Any = httpx.get(where, timeout=30, trust_env=False).json().get(release, {})
        except (httpx.HTTPError, ValueError) as error:
            yield where, f"no answer ({type(error).__name__})"
            continue
        if state.get("state") == "refused":
            raise SluiceError(f"{where}: {release} is refused: {state['reason']}")
        yield where, state.get("state", "not known yet")
