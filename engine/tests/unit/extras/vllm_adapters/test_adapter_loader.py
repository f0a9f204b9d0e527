"""Passes of the loader, one at a time: what it registers, refuses and takes out, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.adapter_loader import AdapterLoader
from sluice.extras.vllm_adapters.living_releases import in_folder
from sluice.extras.vllm_adapters.vllm_server import VllmServer
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import Manifest
from unit.extras.vllm_adapters.releases import ReleaseShelf
from unit.extras.vllm_adapters.vllm_process import VllmProcess, played_adapter, played_base, running

pytestmark = pytest.mark.usefixtures("loopback")


class Passes:
    """A loader of one shelf whose API server may be away, and whose clock the test moves."""

    def __init__(self, shelf: ReleaseShelf, vllm: VllmProcess) -> None:
        self.shelf, self.vllm, self.now, self.away = shelf, vllm, 0.0, False
        self.loader = self.another()

    def another(self) -> AdapterLoader:
        """As after a restart of its process."""
        store, folder = open_artifact_store(str(self.shelf.store)), self.shelf.root / "adapters"
        server = VllmServer(self.vllm.url)
        return AdapterLoader(self._living, server, store, folder, keep_seconds=300, clock=lambda: self.now)

    def _living(self) -> dict[str, bytes]:
        if self.away:
            raise SluiceError("API server: gone")
        return in_folder(self.shelf.alive)()

    def run(self) -> dict[str, str]:
        """One pass; the states after it."""
        self.loader.run_once()
        return {name: status.state for name, status in self.loader.states.items()}

    def registered(self) -> set[str]:
        return set(VllmServer(self.vllm.url).adapters()) - {"base"}

    def make(self, says: str = "alpha", rank: int = 8) -> Manifest:
        made = self.shelf.make(played_adapter(says, rank))
        self.shelf.start(made)
        return made


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    with running(tmp_path_factory.mktemp("vllm"), None) as process:
        yield process


@pytest.fixture
def passes(tmp_path: Path, vllm: VllmProcess) -> Iterator[Passes]:
    passes = Passes(ReleaseShelf(tmp_path), vllm)
    yield passes
    if vllm.process is None:
        restart(vllm)
    for name in passes.registered():
        VllmServer(vllm.url).unregister(name)


def restart(vllm: VllmProcess) -> None:
    vllm.kill()
    vllm.start()
    vllm.await_start()


def test_a_second_pass_changes_nothing(passes: Passes) -> None:
    made = passes.make()
    assert passes.run() == {made.id: "registered"} == passes.run()
    assert passes.registered() == {made.id}
    assert passes.loader.ready


def test_it_is_ready_with_no_release_at_all_and_not_before_its_first_pass(passes: Passes) -> None:
    assert not passes.loader.ready
    assert passes.run() == {}
    assert passes.loader.ready


def test_what_an_adapter_was_on_the_disk_is_looked_at_before_each_time_vllm_is_told(passes: Passes) -> None:
    made = passes.make("alpha")
    passes.run()
    kept = passes.shelf.root / "adapters" / made.id / "peft" / "adapter_model.safetensors"
    right = kept.read_bytes()
    kept.write_bytes(right.replace(b"alpha", b"wrong"))
    restart(passes.vllm)
    assert passes.run() == {made.id: "registered"}
    assert kept.read_bytes() == right, "fetched again"
    kept.write_bytes(right.replace(b"alpha", b"wrong"))
    passes.shelf.swap_byte(made)
    restart(passes.vllm)
    assert passes.run() == {made.id: "refused"}
    assert passes.registered() == set()
    assert not list(kept.parent.glob(".*")), "nothing damaged is kept"


def test_a_file_too_many_is_refused(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    (passes.shelf.root / "adapters" / made.id / "peft" / "added_tokens.json").write_text("{}")
    restart(passes.vllm)
    assert passes.run() == {made.id: "registered"}, "it is taken away, as wherever a release is fetched"
    assert not (passes.shelf.root / "adapters" / made.id / "peft" / "added_tokens.json").exists()


def test_a_manifest_that_was_changed_is_refused(passes: Passes) -> None:
    made = passes.make()
    path = passes.shelf.alive / made.id / "release.json"
    path.write_text(path.read_text().replace('"commit":"000', '"parent_of":"000'))
    assert passes.run() == {made.id: "refused"}
    assert passes.loader.ready, "its own pods wait, and no others"


def test_what_vllm_does_not_take_is_refused_in_its_words_and_mended_by_itself(passes: Passes) -> None:
    large = passes.make("large", rank=64)
    assert passes.run() == {large.id: "refused"}
    assert "LoRA rank 64 is greater than max_lora_rank 16" in passes.loader.states[large.id].reason
    assert "--max-lora-rank that fits" in passes.loader.states[large.id].reason
    small = passes.make("small")
    assert passes.run() == {large.id: "refused", small.id: "registered"}


def test_an_adapter_of_another_base_is_refused_before_vllm_is_told(passes: Passes) -> None:
    """vLLM 0.32 registers it without a word."""
    played_base(passes.vllm.base, last=2.25)
    try:
        made = passes.make()
        assert passes.run() == {made.id: "refused"}
        assert passes.registered() == set()
        reason = passes.loader.states[made.id].reason
        assert f"{passes.vllm.base}: vLLM serves another base model" in reason
        assert "config/models.yaml" in reason, "what to do"
        assert passes.loader.ready, "its own pods wait, and no others"
    finally:
        played_base(passes.vllm.base)
    passes.now += 30
    assert passes.run() == {made.id: "registered"}


def test_an_adapter_that_pins_no_base_is_refused(passes: Passes) -> None:
    files = played_adapter("alpha")
    del files["base_model.json"]
    made = passes.shelf.make(files)
    passes.shelf.start(made)
    assert passes.run() == {made.id: "refused"}
    assert "no base model is pinned" in passes.loader.states[made.id].reason
    assert passes.registered() == set()


def test_a_release_without_an_adapter_needs_nothing(passes: Passes) -> None:
    made = passes.shelf.make({}, adapter=False)
    passes.shelf.start(made)
    assert passes.run() == {made.id: "none"}
    assert passes.loader.ready


def test_what_is_not_alive_stays_for_a_while_and_then_goes(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    passes.shelf.end(made)
    passes.now = 299
    assert passes.run() == {made.id: "registered"}
    passes.now = 301
    assert passes.run() == {}
    assert passes.registered() == set()
    assert not (passes.shelf.root / "adapters" / made.id).exists()


def test_a_pass_that_takes_longer_than_that_takes_out_nothing_that_is_alive(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    usual = passes.loader._vllm.adapters

    def slow() -> dict[str, str]:
        passes.now += 400  # after it was told what is alive
        return usual()

    passes.loader._vllm.adapters = slow  # type: ignore[method-assign]
    assert passes.run() == {made.id: "registered"}
    assert passes.registered() == {made.id}


def test_an_api_server_that_is_away_takes_nothing_out(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    passes.away, passes.now = True, 1000
    assert passes.run() == {made.id: "registered"}
    assert passes.loader.fault == "API server: gone"
    restart(passes.vllm)
    assert passes.run() == {made.id: "registered"}
    passes.loader = passes.another()
    restart(passes.vllm)
    assert passes.run() == {made.id: "registered"}, "what lies here was alive"
    assert passes.loader.ready


def test_a_loader_that_was_never_told_what_is_alive_is_not_ready(passes: Passes) -> None:
    passes.away = True
    assert passes.run() == {}
    assert not passes.loader.ready


def test_a_store_that_is_away_does_not_keep_what_lies_here(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    passes.shelf.store.rename(passes.shelf.root / "elsewhere")
    new = passes.shelf.make(played_adapter("bravo"))
    passes.shelf.start(new)
    passes.shelf.store.rename(passes.shelf.root / "second")
    restart(passes.vllm)
    assert passes.run() == {made.id: "registered", new.id: "refused"}
    assert passes.loader.ready
    (passes.shelf.root / "second").rename(passes.shelf.store)
    assert passes.run() == {made.id: "registered", new.id: "refused"}, "not asked for at once again"
    passes.now += 30
    assert passes.run() == {made.id: "registered", new.id: "registered"}


def test_it_is_not_ready_while_vllm_is_down_and_until_its_adapters_are_back(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    passes.vllm.kill()
    assert passes.run() == {made.id: "waiting"}
    assert not passes.loader.ready
    assert "vLLM does not respond" in passes.loader.fault
    restart(passes.vllm)
    assert not passes.loader.ready
    assert passes.run() == {made.id: "registered"}
    assert passes.loader.ready


def test_a_fault_that_lasts_is_logged_once(passes: Passes, caplog: pytest.LogCaptureFixture) -> None:
    made = passes.make()
    passes.run()
    passes.vllm.kill()
    for away in (False, True, True, False, False):
        passes.away = away
        assert passes.run() == {made.id: "waiting"}
    passes.away = False
    restart(passes.vllm)
    passes.run()
    passes.vllm.kill()
    passes.run()
    down = f"{passes.vllm.url}: vLLM does not respond (ConnectError)"
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        down, "API server: gone", down
    ]  # fmt: skip


def test_a_restart_between_two_looks_is_noticed_by_what_is_missing(passes: Passes) -> None:
    made = passes.make()
    passes.run()
    restart(passes.vllm)
    usual, during = passes.loader._vllm.register, []

    def register(name: str, folder: Path) -> None:
        during.append(passes.loader.ready)
        usual(name, folder)

    passes.loader._vllm.register = register  # type: ignore[method-assign]
    assert passes.run() == {made.id: "registered"}
    assert during == [False]
    assert passes.loader.ready


def test_a_name_that_was_registered_from_elsewhere_is_registered_anew(passes: Passes, tmp_path: Path) -> None:
    made = passes.make("alpha")
    for name, content in played_adapter("other").items():
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / name).write_bytes(content)
    server = VllmServer(passes.vllm.url)
    server.register(made.id, tmp_path / "other")
    server.register("draft-0123", tmp_path / "other")
    assert passes.run() == {made.id: "registered"}
    assert server.adapters()[made.id] == str(passes.shelf.root / "adapters" / made.id / "peft")
    assert "draft-0123" in passes.registered(), "names that are no release's are not the loader's"
