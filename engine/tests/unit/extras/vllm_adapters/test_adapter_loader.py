from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.adapter_loader import AdapterLoader, ReplicaSetReleases, in_cluster, in_folder
from sluice.extras.vllm_adapters.vllm_server import VllmServer
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import Manifest
from support.kubernetes.api_server import KubeApi, serving, status
from unit.extras.vllm_adapters.releases import ReleaseShelf
from unit.extras.vllm_adapters.vllm_process import VllmProcess, played_adapter, running

pytestmark = pytest.mark.usefixtures("loopback")


class Passes:
    def __init__(self, shelf: ReleaseShelf, vllm: VllmProcess) -> None:
        self.shelf, self.vllm, self.now, self.away = shelf, vllm, 0.0, False
        self.loader = self.another()

    def another(self) -> AdapterLoader:
        store, folder = open_artifact_store(str(self.shelf.store)), self.shelf.root / "adapters"
        server = VllmServer(self.vllm.url)
        return AdapterLoader(self._living, server, store, folder, keep_seconds=300, clock=lambda: self.now)

    def _living(self) -> dict[str, bytes]:
        if self.away:
            raise SluiceError("API server: gone")
        return in_folder(self.shelf.alive)()

    def run(self) -> dict[str, str]:
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


def test_what_an_adapter_was_on_the_disk_is_looked_at_before_each_time_vllm_is_told(passes: Passes) -> None:
    made = passes.make("alpha")
    passes.run()
    kept = passes.shelf.root / "adapters" / made.id / "peft" / "adapter_model.safetensors"
    right = kept.read_bytes()
    kept.write_bytes(right.replace(b"alpha", b"wrong"))
    restart(passes.vllm)
    (kept.parent / "added_tokens.json").write_text("{}")
    assert passes.run() == {made.id: "registered"}
    assert kept.read_bytes() == right, "fetched again"
    assert not (kept.parent / "added_tokens.json").exists(), "it is taken away, as wherever a release is fetched"
    kept.write_bytes(right.replace(b"alpha", b"wrong"))
    passes.shelf.swap_byte(made)
    restart(passes.vllm)
    assert passes.run() == {made.id: "refused"}
    assert passes.registered() == set()
    assert not list(kept.parent.glob(".*")), "nothing damaged is kept"


def test_what_vllm_does_not_take_is_refused_in_its_words_and_mended_by_itself(passes: Passes) -> None:
    large = passes.make("large", rank=64)
    assert passes.run() == {large.id: "refused"}
    assert "LoRA rank 64 is greater than max_lora_rank 16" in passes.loader.states[large.id].reason
    assert "--max-lora-rank that fits" in passes.loader.states[large.id].reason
    small = passes.make("small")
    assert passes.run() == {large.id: "refused", small.id: "registered"}


def test_an_adapter_that_pins_no_base_and_a_manifest_that_was_changed_are_refused(passes: Passes) -> None:
    files = played_adapter("alpha")
    del files["base_model.json"]
    made = passes.shelf.make(files)
    passes.shelf.start(made)
    plain = passes.shelf.make({}, adapter=False)
    passes.shelf.start(plain)
    assert not passes.loader.ready, "before its first pass"
    passes.away = True
    assert passes.run() == {}
    assert not passes.loader.ready, "it was never told what is alive"
    passes.away = False
    assert passes.run() == {made.id: "refused", plain.id: "none"}
    assert "no base model is pinned" in passes.loader.states[made.id].reason
    assert passes.registered() == set()
    assert passes.loader.ready, "its own pods wait, and no others"
    changed = passes.make("changed")
    path = passes.shelf.alive / changed.id / "release.json"
    path.write_text(path.read_text().replace('"digest":"222', '"parent_of":"222'))
    assert passes.run()[changed.id] == "refused"


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


def test_while_vllm_is_down_it_is_not_ready_and_says_so_once(passes: Passes, caplog: pytest.LogCaptureFixture) -> None:
    made = passes.make()
    passes.run()
    passes.vllm.kill()
    for away in (False, True, True, False, False):
        passes.away = away
        assert passes.run() == {made.id: "waiting"}
        assert not passes.loader.ready
    passes.away = False
    restart(passes.vllm)
    assert not passes.loader.ready, "until its adapters are back"
    passes.run()
    assert passes.loader.ready
    passes.vllm.kill()
    passes.run()
    down = f"{passes.vllm.url}: vLLM does not respond (ConnectError)"
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        down, "API server: gone", down
    ]  # fmt: skip


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


STABLE, CANARY, GONE = "r-00000000000a", "r-00000000000b", "r-00000000000c"


def replica_set(release: str, replicas: int, **changes: Any) -> dict[str, Any]:
    """As Argo Rollouts 1.9.1 makes it (rollout/sync.go:142-162): the pod template of the Rollout, labels and all."""
    template = {
        "metadata": {"labels": {"app.kubernetes.io/version": release, "app.kubernetes.io/name": "sluice"}},
        "spec": {
            "containers": [{"name": "sluice", "image": "sluice"}],
            "volumes": [{"name": "manifest", "configMap": {"name": f"sluice-release-{release}"}}],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"x": release}}, "template": template}
    metadata = {"name": f"sluice-{release}", "namespace": "sluice-local"}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec, **changes}


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with serving(KubeApi()) as api:
        for release, replicas in ((STABLE, 3), (CANARY, 1), (GONE, 0)):
            api.write(replica_set(release, replicas), "rollouts-controller")
            held = {"release.json": f"manifest of {release}"}
            metadata = {"name": f"sluice-release-{release}", "namespace": "sluice-local"}
            api.write({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": held}, "sluice")
        yield api


@pytest.fixture
def living(api: KubeApi) -> Iterator[ReplicaSetReleases]:
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        yield ReplicaSetReleases(client, "sluice-local")


def test_stable_and_canary_are_alive_and_what_was_scaled_down_once_its_pods_are_gone(
    api: KubeApi, living: ReplicaSetReleases
) -> None:
    other = replica_set("1.2.3", 1)  # of something else
    other["spec"]["template"]["spec"]["volumes"] = []
    api.write(other, "kube-controller-manager")
    assert living() == {STABLE: f"manifest of {STABLE}".encode(), CANARY: f"manifest of {CANARY}".encode()}
    assert set(living()) == {STABLE, CANARY}
    assert len([path for method, path in api.requests if method == "GET" and "/configmaps/" in path]) == 2, "read once"
    api.write(replica_set(GONE, 0, status={"replicas": 1}), "kube-controller-manager")
    assert set(living()) == {STABLE, CANARY, GONE}


def test_a_manifest_that_is_gone_takes_no_other_release_along(api: KubeApi, living: ReplicaSetReleases) -> None:
    api.delete("ConfigMap", f"sluice-release-{CANARY}")
    assert set(living()) == {STABLE}


def test_an_api_server_that_refuses_or_is_gone_is_an_error(api: KubeApi, living: ReplicaSetReleases) -> None:
    api.refuse[("GET", "replicasets")] = status(403, "Forbidden", "replicasets is forbidden")
    with pytest.raises(SluiceError, match=r"403.*\n.*needs to list replicasets"):
        living()
    api.server.server_close()
    with pytest.raises(SluiceError, match="API server"):
        living()


def test_outside_of_a_pod_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SluiceError, match="--releases"):
        in_cluster(tmp_path)
