"""Rollbacks against the stub API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.kubectl import Cluster
from sluice.cluster.rollback import manifest, rollback
from sluice.cluster.rollout_observer import WatchTimeouts
from sluice.core.errors import SluiceError
from support.kubernetes.api_server import KubeApi, serving

from .cluster import hold

QUICK = WatchTimeouts(lost=20, settle=5, poll=0.05)
HEALTHY = {"phase": "Healthy", "currentPodHash": "old", "stableRS": "old"}


@pytest.fixture
def api(loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:  # noqa: ARG001
    with serving(KubeApi()) as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        hold(stub, name="r-222222222222")
        revision(stub, "older", 1, "r-111111111111")
        revision(stub, "old", 2, "r-222222222222")
        yield stub


def revision(api: KubeApi, name: str, number: int, release: str, *, made: str = "2026-01-01T00:00:00Z") -> None:
    labels = {"app.kubernetes.io/name": "sluice", "app.kubernetes.io/version": release}
    labels["rollouts-pod-template-hash"] = name
    volume = {"name": "release", "configMap": {"name": f"sluice-release-{name}"}}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"sluice-release-{name}"}})
    api.put(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"sluice-{name}",
                "labels": labels,
                "creationTimestamp": made,
                "annotations": {"rollout.argoproj.io/revision": str(number)},
                "ownerReferences": [{"uid": "uid-sluice"}],
            },
            "spec": {"template": {"metadata": {"labels": labels}, "spec": {"volumes": [volume]}}},
        }
    )


def remember(api: KubeApi, *promoted: str, left: str = "") -> None:
    """What was promoted, newest first, as hashes of templates."""
    rollout = api.objects[api.path("Rollout", "sluice")]
    annotations = {"sluice/promoted": " ".join(promoted), "sluice/rolled-back-from": left}
    rollout["metadata"]["annotations"] = annotations


def back(api: KubeApi, tmp_path: Path, release: str = "", before: str = "") -> tuple[Any, list[str]]:
    lines: list[str] = []
    cluster = Cluster(tmp_path / "state", lost_seconds=3)
    named = {"release": release, "before": before}
    done = rollback(cluster, api.namespace, "sluice", **named, show=lines.append, seconds=240, patience=QUICK)
    return done, lines


def test_back_to_the_release_before(api: KubeApi, tmp_path: Path) -> None:
    remember(api, "old", "older")
    api.recording = {"events": [{"rollout": {"phase": "Healthy", "currentPodHash": "older", "stableRS": "older"}}]}
    (live, ended), lines = back(api, tmp_path)
    assert (live, ended.kind) == ("r-111111111111", "promoted")
    assert "back to r-111111111111 (revision 1)" in lines
    spec = api.objects[api.path("Rollout", "sluice")]["spec"]
    assert spec["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "r-111111111111"
    assert "rollouts-pod-template-hash" not in spec["template"]["metadata"]["labels"]
    assert spec["rollbackWindow"] == {"revisions": 10}


def test_the_record_knows_what_was_live_before(api: KubeApi, tmp_path: Path) -> None:
    """The newest revision but one may be a release that was gone back from."""
    revision(api, "bad", 3, "r-333333333333")
    revision(api, "old", 4, "r-222222222222")
    api.recording = {"events": [{"rollout": {"phase": "Healthy", "currentPodHash": "older", "stableRS": "older"}}]}
    (live, _), lines = back(api, tmp_path, before="r-111111111111")
    assert live == "r-111111111111"
    assert "back to r-111111111111 (revision 1)" in lines


def test_what_is_under_way_goes_back_to_stable_whatever_was_live_before(api: KubeApi, tmp_path: Path) -> None:
    revision(api, "new", 3, "r-333333333333")
    rollout = api.objects[api.path("Rollout", "sluice")]
    rollout["status"] |= {"phase": "Progressing", "currentPodHash": "new"}
    api.recording = {"events": [{"rollout": {"phase": "Healthy", "currentPodHash": "old", "stableRS": "old"}}]}
    (live, _), _ = back(api, tmp_path, before="r-111111111111")
    assert live == "r-222222222222"


def test_a_canary_under_way_is_aborted_first(api: KubeApi, tmp_path: Path) -> None:
    revision(api, "new", 3, "r-333333333333")
    rollout = api.objects[api.path("Rollout", "sluice")]
    rollout["status"] |= {"phase": "Progressing", "currentPodHash": "new"}
    api.put(rollout)
    api.recording = {"events": [{"rollout": HEALTHY}]}
    rollout["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] = "r-333333333333"
    (live, ended), lines = back(api, tmp_path)
    assert (live, ended.kind) == ("r-222222222222", "promoted")
    assert lines[0] == "aborted: stable gets all traffic"


def test_what_is_live_already_changes_nothing(api: KubeApi, tmp_path: Path) -> None:
    done, _ = back(api, tmp_path, "r-222222222222")
    assert done == ("r-222222222222", None)
    assert not [path for method, path in api.requests if method == "PATCH"]


def test_a_release_that_the_cluster_no_longer_holds(api: KubeApi, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="r-999999999999 is not in the cluster any more; it holds r-2") as caught:
        back(api, tmp_path, "r-999999999999")
    assert "sluice deploy" in str(caught.value)


def test_nothing_is_guessed_where_nothing_was_remembered(api: KubeApi, tmp_path: Path) -> None:
    """The revision before may be one that its canary had stopped."""
    with pytest.raises(SluiceError, match="nothing says which release was promoted before") as caught:
        back(api, tmp_path)
    assert "r-222222222222, r-111111111111" in str(caught.value)
    assert not [path for method, path in api.requests if method == "PATCH"]


def test_a_stopped_release_between_is_passed_over(api: KubeApi, tmp_path: Path) -> None:
    revision(api, "bad", 3, "r-333333333333")
    revision(api, "old", 4, "r-222222222222")
    remember(api, "old", "older")
    api.recording = {"events": [{"rollout": {"phase": "Healthy", "currentPodHash": "older", "stableRS": "older"}}]}
    (live, _), _ = back(api, tmp_path)
    assert live == "r-111111111111"
    annotations = api.objects[api.path("Rollout", "sluice")]["metadata"]["annotations"]
    assert annotations == {"sluice/promoted": "older", "sluice/rolled-back-from": "old"}


def test_a_stopped_release_is_not_gone_back_to_by_name_either(api: KubeApi, tmp_path: Path) -> None:
    revision(api, "bad", 3, "r-333333333333")
    remember(api, "old", "older")
    with pytest.raises(SluiceError, match="r-333333333333 was never promoted here") as caught:
        back(api, tmp_path, "r-333333333333")
    assert "sluice deploy --release r-333333333333" in str(caught.value)


def test_a_rollback_is_undone_by_name(api: KubeApi, tmp_path: Path) -> None:
    revision(api, "left", 3, "r-333333333333", made="2026-01-03T00:00:00Z")
    remember(api, "old", "older", left="left")
    api.recording = {"events": [{"rollout": {"phase": "Healthy", "currentPodHash": "left", "stableRS": "left"}}]}
    (live, ended), lines = back(api, tmp_path, "r-333333333333")
    assert (live, ended.kind) == ("r-333333333333", "promoted")
    assert any("runs the steps of the canary" in line for line in lines)
    annotations = api.objects[api.path("Rollout", "sluice")]["metadata"]["annotations"]
    assert annotations == {"sluice/promoted": "left older", "sluice/rolled-back-from": "old"}


def test_a_pause_by_a_person_is_lifted(api: KubeApi, tmp_path: Path) -> None:
    """With it Argo Rollouts moves no pod (1.9.1, rollout/context.go:134-136)."""
    remember(api, "old", "older")
    rollout = api.objects[api.path("Rollout", "sluice")]
    rollout["spec"] |= {"paused": True, "restartAt": "2026-01-01T00:00:00Z"}
    api.recording = {"events": [{"rollout": {"phase": "Healthy", "currentPodHash": "older", "stableRS": "older"}}]}
    back(api, tmp_path)
    spec = api.objects[api.path("Rollout", "sluice")]["spec"]
    assert spec["paused"] is False
    assert "restartAt" not in spec


def test_its_manifest_must_be_there_still(api: KubeApi, tmp_path: Path) -> None:
    remember(api, "old", "older")
    api.remove(api.path("ConfigMap", "sluice-release-older"))
    with pytest.raises(SluiceError, match="sluice-release-older"):
        back(api, tmp_path)
    assert not [path for method, path in api.requests if method == "PATCH"]


def test_the_number_of_pods_stays_with_its_owner(api: KubeApi) -> None:
    rollout = api.objects[api.path("Rollout", "sluice")]
    rollout["spec"]["replicas"] = 7
    from sluice.cluster.rollback import Revision

    older = Revision(1, "older", "r-111111111111", {"metadata": {"labels": {}}, "spec": {}})
    assert "replicas" not in manifest(rollout, older)["spec"]
    ours = {"manager": "sluice", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    rollout["metadata"]["managedFields"] = [ours]
    assert manifest(rollout, older)["spec"]["replicas"] == 7
