"""What the loader takes for alive: by the ReplicaSets of a namespace, asked of the stub API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.living_releases import ReplicaSetReleases, in_cluster
from support.kubernetes.api_server import KubeApi, serving, status

pytestmark = pytest.mark.usefixtures("loopback")
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


def test_stable_and_canary_are_alive_and_what_was_scaled_down_is_not(living: ReplicaSetReleases) -> None:
    assert living() == {STABLE: f"manifest of {STABLE}".encode(), CANARY: f"manifest of {CANARY}".encode()}


def test_pods_that_are_still_there_count(api: KubeApi, living: ReplicaSetReleases) -> None:
    api.write(replica_set(GONE, 0, status={"replicas": 1}), "kube-controller-manager")
    assert set(living()) == {STABLE, CANARY, GONE}


def test_a_manifest_is_read_once(api: KubeApi, living: ReplicaSetReleases) -> None:
    assert living() == living()
    read = [path for method, path in api.requests if method == "GET" and "/configmaps/" in path]
    assert len(read) == 2


def test_a_replica_set_of_something_else_is_passed_over(api: KubeApi, living: ReplicaSetReleases) -> None:
    other = replica_set("1.2.3", 1)
    other["spec"]["template"]["spec"]["volumes"] = []
    api.write(other, "kube-controller-manager")
    assert set(living()) == {STABLE, CANARY}


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
