"""The commands of engine/docs/first-cluster.md against the stub API server; what makes a cluster is not run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster import ROOT, Checkout, variant
from sluice.cluster.manifests import ARGO_FLAGS
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.player import Player
from unit.cluster.conftest import template_hash
from unit.release.conftest import miniature, release_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
PAGE = ROOT / "engine" / "docs" / "first-cluster.md"
RUN = re.compile(r"^<!-- run by engine/tests/e2e/test_first_cluster\.py -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not PAGE.exists(), reason="the project has no engine/docs/first-cluster.md")
def test_the_page_leads_to_a_promoted_release_and_back(tmp_path: Path) -> None:
    script = "".join(RUN.findall(PAGE.read_text()))
    assert [one for one in ("keys add", "manifests check", "doctor", "deploy", "rollback") if one not in script] == []
    api = KubeApi()
    plane = Player(api)
    plane.hurry(6)
    with serving(api), pytest.MonkeyPatch.context() as patch:
        checkout = Checkout(tmp_path / "checkout", patch, {})
        root = checkout.workspace.root
        source = release_of(miniature(tmp_path / "small"))[1]
        first, second = (
            variant(source, checkout.workspace.releases, lambda prompt, name=name: prompt.update(description=name))
            for name in ("first", "second")
        )
        (root / ".venv").symlink_to(Path(sys.executable).parents[1])
        traefik = ["--providers.kubernetescrd.safenaming=true"]
        for image, args in (("argo-rollouts:v1.9.1", [*ARGO_FLAGS]), ("traefik:v3.7.9", traefik)):
            name = image.partition(":")[0]
            metadata = {"name": name, "labels": {"app.kubernetes.io/name": name}}
            spec = {"template": {"spec": {"containers": [{"name": name, "image": image, "args": args}]}}}
            api.write({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}, "somebody")
        images = {
            f"{name}IMAGE": f"registry.example/x@sha256:{digit * 64}" for name, digit in (("", "a"), ("LOAD_", "b"))
        }
        environment = {**os.environ, **images, "RELEASE": first.id, "NEXT": second.id}
        environment |= {
            "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig")),
            "KUBECACHEDIR": str(tmp_path / "cache"),
        }
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=3000,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index(f"{first.id} is live in local\n") < done.stdout.index(f"{second.id} is live in local\n")
    assert f"{first.id} is live in local again" in done.stdout
    assert re.search(r"weight: canary (10|50) %", done.stdout)
    live = api.objects[api.path("Rollout", "sluice")]["status"]["stableRS"]
    assert live == template_hash(api, first.id)
