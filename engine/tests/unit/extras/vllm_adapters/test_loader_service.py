"""What the loader's process says over HTTP; its loop is tested with two releases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from sluice.extras.vllm_adapters.adapter_loader import AdapterStatus
from sluice.extras.vllm_adapters.loader_service import create_loader_app

STATES = {
    "r-00000000000a": AdapterStatus("registered"),
    "r-00000000000b": AdapterStatus("refused", "the sha256 is another"),
}


@pytest.mark.parametrize("ready", [True, False])
def test_what_it_says(ready: bool) -> None:
    loader: Any = SimpleNamespace(ready=ready, states=STATES, fault="" if ready else "vLLM does not respond")
    client = TestClient(create_loader_app(loader, lambda: ready))
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == (200 if ready else 503)
    assert client.get("/readyz").text == ("ready" if ready else "vLLM does not respond")
    assert client.get("/adapters").json()["r-00000000000b"] == {"state": "refused", "reason": "the sha256 is another"}
    lines = client.get("/metrics/").text.splitlines()
    assert f"sluice_vllm_ready {float(ready)}" in lines
    assert 'sluice_vllm_adapters{state="registered"} 1.0' in lines
    assert 'sluice_vllm_adapters{state="refused"} 1.0' in lines
    assert 'sluice_vllm_adapters{state="waiting"} 0.0' in lines
    assert client.get("/metrics").is_success, "as Prometheus asks, without a slash at its end"
