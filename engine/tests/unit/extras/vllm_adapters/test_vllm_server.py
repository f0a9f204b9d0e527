import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters import vllm_server
from sluice.extras.vllm_adapters.providers.vllm import model_names
from sluice.extras.vllm_adapters.vllm_server import VllmServer, register_draft, register_release
from sluice.serving.release_parts import DRAFT
from support.serving.fakes import scripted_bundle
from unit.extras.vllm_adapters.releases import ReleaseShelf
from unit.extras.vllm_adapters.vllm_process import played_adapter, played_base, running

pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with running(tmp_path_factory.mktemp("vllm"), None) as process:
        yield VllmServer(process.url)


@pytest.fixture(autouse=True)
def _nothing_registered(server: VllmServer) -> None:
    for name in set(server.adapters()) - {"base"}:
        server.unregister(name)


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
    server.unregister(good.id)
    played_base(server.base(), last=2.25)
    try:
        with pytest.raises(SluiceError, match="vLLM serves another base model"):
            register_release(workspace, good.id, server)
    finally:
        played_base(server.base())
    assert set(server.adapters()) == {"base"}


def test_the_working_tree_has_a_name_by_its_content(
    workspace: Workspace, server: VllmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(adapter: Path, _: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in played_adapter(adapter.read_text()).items():
            (folder / name).write_bytes(content)

    monkeypatch.setattr(vllm_server, "write_peft", convert)
    monkeypatch.setattr(vllm_server, "ensure", lambda *_: tmp_path / "base.gguf")
    with pytest.raises(SluiceError, match=r"adapter.gguf: no adapter\n.*trains one"):
        register_draft(workspace, server)
    names = set()
    for says in ("first", "second"):
        adapter = workspace.build / "adapter" / "adapter.gguf"
        adapter.parent.mkdir(parents=True, exist_ok=True)
        adapter.write_text(says)
        names.add(register_draft(workspace, server))
        bundle = replace(scripted_bundle(), release=DRAFT, adapter=adapter)
        assert model_names(bundle)["vllm"] in names, "by which serving asks for it"
    assert len(names) == 2
    assert names <= set(server.adapters())
    assert model_names(scripted_bundle()) == {}, "without an adapter the base is asked"
