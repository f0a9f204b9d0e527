"""Staging and production, with every kind of their components, against the stub API server and its controllers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sluice.cluster.deploy_release import deploy
from sluice.cluster.kubectl import Cluster
from sluice.cluster.release_overlay import render_release
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.player import Player

from .conftest import IMAGE, LOAD_IMAGE, QUICK, checkout, release


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_an_environment_from_its_first_release_to_one_that_is_stopped(
    loopback: None,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
) -> None:
    workspace = checkout(tmp_path / "checkout")
    overlay = workspace.root / "k8s" / "overlays" / environment / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("0" * 64, "b" * 64))
    lines: list[str] = []
    api = KubeApi(f"sluice-{environment}")
    plane = Player(api)

    def run(digit: str) -> str:
        lines.clear()
        documents = render_release(workspace, environment, release(prompts={"answer": digit * 64}), IMAGE, LOAD_IMAGE)
        applied = Counter((one["kind"], one["metadata"]["name"]) for one in documents)
        cluster = Cluster(tmp_path / "state", lost_seconds=3)
        done = deploy(cluster, documents, show=lines.append, seconds=240, patience=QUICK)
        if done.passed:
            assert [one for one in applied if api.find(*one) is None] == []
        return f"{done.kind} {' '.join(done.reasons)}"

    with serving(api):
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        assert run("1") == "promoted "
        assert "IngressRoute/sluice-tls waits: no visitor before the release is judged" in lines
        plane.nodes.verdicts = {"load": "Failed"}
        said = run("2")
        assert said.startswith("stopped ")
        assert "load: Failed" in said
        assert "weight: canary 10 %, stable 90 %" in lines
        plane.nodes.verdicts = {}
        assert run("3") == "promoted "
