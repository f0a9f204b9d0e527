"""One adapter by hand, for an evaluation beside a vLLM: a release's, and that of the working tree under its content."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters import register_adapter
from sluice.extras.vllm_adapters.model_names import adapter_name
from sluice.extras.vllm_adapters.register_adapter import register_draft, register_release
from sluice.extras.vllm_adapters.vllm_server import VllmServer
from sluice.serving.release_parts import DRAFT
from unit.extras.vllm_adapters.releases import ReleaseShelf
from unit.extras.vllm_adapters.vllm_process import played_adapter, played_base, running

pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with running(tmp_path_factory.mktemp("vllm"), None) as process:
        yield VllmServer(process.url)


def test_a_release_is_verified_and_registered_once(workspace: Workspace, server: VllmServer, tmp_path: Path) -> None:
    shelf = ReleaseShelf(tmp_path / "shelf")
    good, bad, other = (shelf.make(files) for files in (played_adapter("one"), played_adapter("two"), {}))
    shutil.copytree(shelf.made, workspace.releases)
    for _ in range(2):
        assert register_release(workspace, good.id, server) == good.id
    assert server.adapters()[good.id] == str(workspace.releases / good.id / "peft")
    with (workspace.releases / bad.id / "peft" / "adapter_model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(SluiceError, match="the manifest pins"):
        register_release(workspace, bad.id, server)
    with pytest.raises(SluiceError, match=r"no adapter for vLLM\n.*kind `vllm`"):
        register_release(workspace, other.id, server)
    assert set(server.adapters()) == {"base", good.id}


def test_an_adapter_of_another_base_is_not_registered(workspace: Workspace, server: VllmServer, tmp_path: Path) -> None:
    shelf = ReleaseShelf(tmp_path / "shelf")
    made = shelf.make(played_adapter("three"))
    shutil.copytree(shelf.made, workspace.releases)
    played_base(server.base(), last=2.25)
    try:
        with pytest.raises(SluiceError, match="vLLM serves another base model"):
            register_release(workspace, made.id, server)
    finally:
        played_base(server.base())
    assert made.id not in server.adapters()


def test_the_working_tree_has_a_name_by_its_content(
    workspace: Workspace, server: VllmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(adapter: Path, _: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in played_adapter(adapter.read_text()).items():
            (folder / name).write_bytes(content)

    monkeypatch.setattr(register_adapter, "write_peft", convert)
    monkeypatch.setattr(register_adapter, "ensure", lambda *_: tmp_path / "base.gguf")
    with pytest.raises(SluiceError, match=r"adapter.gguf: no adapter\n.*trains one"):
        register_draft(workspace, server)
    names = set()
    for says in ("first", "second"):
        adapter = workspace.build / "adapter" / "adapter.gguf"
        adapter.parent.mkdir(parents=True, exist_ok=True)
        adapter.write_text(says)
        names.add(register_draft(workspace, server))
        assert adapter_name(DRAFT, adapter) in names
    assert len(names) == 2
    assert names <= set(server.adapters())
