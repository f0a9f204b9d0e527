"""`make e2e-cluster` against a control plane without nodes: what marks its pods, tried against the stub API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.kubectl import Cluster
from sluice.core.processes import wait_until
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.marked_pods import JOB_LABEL, Nodes, marked_pods


@pytest.mark.usefixtures("loopback")
def test_pods_are_ready_and_judges_end_as_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = KubeApi()
    for name, labels, image in (
        ("good", {"app.kubernetes.io/version": "r-1"}, "here"),
        ("dead", {"app.kubernetes.io/version": "r-2"}, "here"),
        ("unpullable", {"app.kubernetes.io/version": "r-3"}, "registry.example/absent"),
        ("passing", {JOB_LABEL: "uid.quality.1"}, "here"),
        ("failing", {JOB_LABEL: "uid.load.1"}, "here"),
    ):
        spec = {"containers": [{"name": "one", "image": f"{image}@sha256:{'c' * 64}"}]}
        metadata: dict[str, Any] = {"name": name, "labels": labels}
        api.write({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {}}, "somebody")

    def marked() -> dict[str, tuple[str, str]]:
        """Phase and readiness of each."""
        found = {one["metadata"]["name"]: one["status"] for one in api.all("Pod") if "phase" in one["status"]}
        return {name: (one["phase"], one["conditions"][0]["status"]) for name, one in found.items()}

    nodes = Nodes(verdicts={"load": "Failed"}, dead={"r-2"})
    with serving(api):
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        with marked_pods(Cluster(tmp_path / "state", lost_seconds=3), [api.namespace], nodes):
            assert wait_until(lambda: len(marked()) == 5, seconds=60)
    assert marked() == {
        "good": ("Running", "True"),
        "dead": ("Running", "False"),
        "unpullable": ("Pending", "False"),
        "passing": ("Succeeded", "False"),
        "failing": ("Failed", "False"),
    }
