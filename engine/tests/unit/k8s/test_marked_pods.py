"""`make e2e-cluster` against a control plane without nodes: what marks its pods, tried against the stub API server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.cluster.deploy_release import deploy
from sluice.cluster.kubectl import Cluster
from sluice.cluster.release_overlay import render_release
from sluice.cluster.rollout_observer import WatchTimeouts
from sluice.core.workspace import Workspace
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.control_plane import ControlPlane, Nodes
from support.kubernetes.marked_pods import marked_pods
from unit.cluster.cluster import IMAGE, checkout, release


@pytest.fixture
def api(loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:  # noqa: ARG001
    api = KubeApi()
    plane = ControlPlane(api)
    plane.marked = True
    plane.hurry(6)
    with serving(api):
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        yield api


def test_pods_are_ready_and_judges_end_as_they_are_told(api: KubeApi, tmp_path: Path) -> None:
    workspace: Workspace = checkout(tmp_path / "checkout")
    cluster, nodes = Cluster(tmp_path / "state", lost_seconds=3), Nodes()
    said: list[str] = []
    patience = WatchTimeouts(poll=0.05, pull=3)

    def run(digit: str, image: str = IMAGE) -> tuple[str, str]:
        documents = render_release(workspace, "local", release(prompts={"answer": digit * 64}), image)
        done = deploy(cluster, documents, show=said.append, seconds=240, patience=patience)
        return done.kind, " ".join(done.reasons)

    with marked_pods(cluster, [api.namespace], nodes):
        assert run("1") == ("promoted", "")
        said.clear()
        assert run("2") == ("promoted", "")
        weights = [int(one) for one in re.findall(r"weight: canary (\d+) %", "\n".join(said))]
        assert [one for one in weights if 0 < one < 100] == [10, 50], "what lasts longer than a look is seen"
        nodes.verdicts = {"load": "Failed"}
        kind, why = run("3")
        assert (kind, "load: Failed" in why) == ("stopped", True)
        kind, why = run("4", "registry.example/absent@sha256:" + "c" * 64)
        assert (kind, "ImagePullBackOff" in why) == ("stopped", True)
    pods = {one["metadata"]["name"]: one["status"]["phase"] for one in api.all("Pod")}
    assert {phase for name, phase in pods.items() if name.endswith("-0")} <= {"Succeeded", "Failed"}
