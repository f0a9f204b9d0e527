"""Registers one adapter by hand, where a vLLM runs beside a checkout: what is evaluated before there is a release."""

from __future__ import annotations

from pathlib import Path

from sluice.cli.common import find_release
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters.base_model import require_base
from sluice.extras.vllm_adapters.model_names import adapter_name
from sluice.extras.vllm_adapters.peft_form import FOLDER, write_peft
from sluice.extras.vllm_adapters.vllm_server import VllmServer
from sluice.llm.model_files import ensure, load_models
from sluice.release.manifest import verify
from sluice.serving.release_parts import DRAFT, draft_adapter


def register_release(workspace: Workspace, release: str, server: VllmServer) -> str:
    """A release of this machine, or of the artifact store that machines share; its id."""
    manifest, folder = find_release(workspace, release)
    verify(folder, manifest)
    if not (folder / FOLDER).is_dir():
        raise SluiceError(f"{folder / FOLDER}: no adapter for vLLM", remedy="make the release with the kind `vllm`")
    return _register(server, manifest.id, folder / FOLDER)


def register_draft(workspace: Workspace, server: VllmServer) -> str:
    """The adapter that the stage `train` has left; its name, which follows from its content."""
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
