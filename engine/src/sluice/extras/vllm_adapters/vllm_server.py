"""The API of a running vLLM through which adapters are registered (vLLM 0.32, `VLLM_ALLOW_RUNTIME_LORA_UPDATING`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from sluice.core.errors import SluiceError

_LOAD_SECONDS = 120  # vLLM reads an adapter between two steps of the model


class VllmDownError(SluiceError):
    """vLLM does not respond: it starts, or is gone."""


class VllmServer:
    """`url` without /v1."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def adapters(self) -> dict[str, str]:
        """Where each model that is registered was read from, the base among them, by name."""
        return {one["id"]: str(one["root"]) for one in self._models()}

    def base(self) -> Path:
        """Where the base model was read from. Adapters have a parent, which it has not."""
        return Path(next(one["root"] for one in self._models() if not one["parent"]))

    def _models(self) -> list[Any]:
        return list(self._ask("GET", "/v1/models").json()["data"])

    def register(self, name: str, folder: Path) -> None:
        """Registers an adapter."""
        self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unregister(self, name: str) -> None:
        """Takes an adapter out; no error when it is not there."""
        self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name}, absent="cannot be found")

    def _ask(self, method: str, path: str, body: Any = None, absent: str = "") -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body, timeout=_LOAD_SECONDS if body else 30)
        except httpx.HTTPError as error:
            raise VllmDownError(f"{self.url}: vLLM does not respond ({type(error).__name__})") from error
        if response.is_success or (absent and absent in response.text):
            return response
        raise SluiceError(f"{self.url}{path}: HTTP {response.status_code}: {_words(response)}", remedy=_REMEDY)


_REMEDY = (
    "vLLM needs --enable-lora, a --max-lora-rank that fits, and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True; the adapter "
    "must be one of its base model"
)


def _words(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return response.text[:500]
