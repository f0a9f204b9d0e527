"""Waits until every vLLM has the adapter of a release: before the pods of the release start."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.model_names import KIND
from sluice.extras.vllm_adapters.peft_form import FOLDER
from sluice.llm.model_files import Models
from sluice.llm.settings import load_providers
from sluice.release.manifest import load


def await_adapter(folder: Path, loaders: str, *, seconds: float, show: Callable[[str], None]) -> str:
    """Asks the loaders until all of them have registered the adapter."""
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


_REMEDY = "`kubectl logs deployment/vllm -c adapters` says what the loader does"


def _answers(loaders: str, release: str) -> Iterator[tuple[str, str]]:
    """Of each loader its address and the state of the adapter there. SluiceError when it is refused."""
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
