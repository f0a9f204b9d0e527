"""vLLM's API that registers adapters (vLLM 0.32, `VLLM_ALLOW_RUNTIME_LORA_UPDATING`), and registering one by hand at a
vLLM beside a checkout, to evaluate before there is a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from sluice.cli.common import find_release
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters.peft_form import FOLDER, require_base, write_peft
from sluice.extras.vllm_adapters.providers.vllm import adapter_name
from sluice.llm.model_files import ensure, load_models
from sluice.release.manifest import verify
from sluice.serving.release_parts import DRAFT, draft_adapter

_REMEDY = (
    "vLLM needs --enable-lora, a --max-lora-rank that fits, and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True; the adapter "
    "must be one of its base model"
)
_LOAD_SECONDS = 120  # vLLM reads an adapter between two steps of the model


class VllmDownError(SluiceError):
    """vLLM is starting, or is gone."""


class VllmServer:
    """`url` without /v1."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def adapters(self) -> dict[str, str]:
        """Return the source of each registered model by name, the base among them."""
        return {one["id"]: str(one["root"]) for one in self._models()}

    def base(self) -> Path:
        """Return the base model's source. Unlike adapters, it has no parent."""
        return Path(next(one["root"] for one in self._models() if not one["parent"]))

    def _models(self) -> list[Any]:
        return list(self._ask("GET", "/v1/models").json()["data"])

    def register(self, name: str, folder: Path) -> None:
        self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unregister(self, name: str) -> None:
        """Remove an adapter; it may be absent."""
        self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name}, absent="cannot be found")

    def _ask(self, method: str, path: str, body: Any = None, absent: str = "") -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body, timeout=_LOAD_SECONDS if body else 30)
        except httpx.HTTPError as error:
            raise VllmDownError(f"{self.url}: vLLM does not respond ({type(error).__name__})") from error
        if response.is_success or (absent and absent in response.text):
            return response
        raise SluiceError(f"{self.url}{path}: HTTP {response.status_code}: {response.text[:500]}", remedy=_REMEDY)


def register_release(workspace: Workspace, release: str, server: VllmServer) -> str:
    """Register a release of this machine or the shared artifact store; return its id."""
    manifest, folder = find_release(workspace, release)
    verify(folder, manifest)
    if not (folder / FOLDER).is_dir():
        raise SluiceError(f"{folder / FOLDER}: no adapter for vLLM", remedy="make the release with the kind `vllm`")
    return _register(server, manifest.id, folder / FOLDER)


def register_draft(workspace: Workspace, server: VllmServer) -> str:
    """Register the adapter that the stage `train` made; its name follows from its content."""
    adapter = draft_adapter(workspace)
    if adapter is None or not adapter.is_file():
        raise SluiceError(f"{adapter or 'pipelines/dvc.yaml'}: no adapter", remedy="`make pipeline` trains one")
    name = adapter_name(DRAFT, adapter)
    folder = workspace.state / "adapters" / name
    write_peft(adapter, ensure(load_models(workspace.config / "models.yaml").chat, workspace.cache), folder)
    return _register(server, name, folder)


def _register(server: VllmServer, name: str, folder: Path) -> str:
    if server.adapters().get(name) != str(folder.absolute()):
        require_base(folder, server.base())
        server.unregister(name)
        server.register(name, folder.absolute())
    return name
