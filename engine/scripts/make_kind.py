"""Makes the cluster that `make e2e-cluster` needs, on this machine: `.venv/bin/python engine/scripts/make_kind.py`.

kind with one node, a registry beside it, Argo Rollouts and Traefik, each of one version; both images of this checkout,
built and pushed by digest. It needs docker, kind, helm, buildah and podman, and a base for the images in
SLUICE_IMAGE_BASE. What is there already is kept, so a run that was cut off goes on. At its end it prints what
`make e2e-cluster` reads from the environment; `kind delete cluster --name sluice` takes the cluster away again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import yaml

from sluice.cluster.manifests import ARGO_FLAGS, kubectl

ROOT = Path(__file__).resolve().parents[2]
NAME = "sluice"
NODE = "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5"  # of kind 0.32
REGISTRY = "registry:2.8.3@sha256:a3d8aaa63ed8681a604f1dea0aa03f100d5895b6a58ace528858a7b332415373"
PORT = 5001
TRAEFIK_CHART = "41.1.0"  # Traefik 3.7.9
TRAEFIK_CHARTS = "https://traefik.github.io/charts"
# Argo Rollouts 1.9.1. Its own file names the image `latest`.
ARGO = "https://raw.githubusercontent.com/argoproj/argo-rollouts/b6bd3bcf8f60d717a98763d26acc983db7f97cb0/manifests/install.yaml"
ARGO_SHA256 = "2701f5ff276e2a41b41d4d7cf8beeb7a62c6c850a34b71f031a29bbb656d543b"
ARGO_IMAGE = "quay.io/argoproj/argo-rollouts:v1.9.1"
NEEDED = ("docker", "kind", "helm", "buildah", "podman")


def main() -> int:
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return fail(f"not installed: {', '.join(missing)}")
    if not os.environ.get("SLUICE_IMAGE_BASE"):
        return fail("SLUICE_IMAGE_BASE is not set: name a base image by digest (engine/docs/reference/image.md)")
    state = ROOT / ".sluice" / "kind"
    artefacts = state / "artefacts"
    artefacts.mkdir(parents=True, exist_ok=True)
    artefacts.chmod(0o755)  # the user of the pods reads it
    make_registry()
    make_cluster(artefacts, state / "kubeconfig")
    os.environ["KUBECONFIG"] = str(state / "kubeconfig")
    install_argo(state / "argo-rollouts.yaml")
    install_traefik()
    run(kubectl(), "apply", "-f", "-", given=json.dumps(volume()))
    settings = {
        "KUBECONFIG": str(state / "kubeconfig"),
        "SLUICE_E2E_ARTEFACTS": str(artefacts),
        "SLUICE_E2E_IMAGE": push_image("sluice"),
        "SLUICE_E2E_LOAD_IMAGE": push_image("sluice-load"),
    }
    for key, value in settings.items():
        print(f"export {key}={value}")
    if file := os.environ.get("GITHUB_ENV"):  # the next step of a job has them too
        with Path(file).open("a") as stream:
            stream.writelines(f"{key}={value}\n" for key, value in settings.items())
    return 0


def make_registry() -> None:
    """Pods name images by digest, and only a registry has digests."""
    if run("docker", "ps", "--quiet", "--filter", f"name=^{NAME}-registry$"):
        return
    where = f"127.0.0.1:{PORT}:5000"
    run("docker", "run", "--detach", "--restart=always", "--publish", where, "--name", f"{NAME}-registry", REGISTRY)


def make_cluster(artefacts: Path, kubeconfig: Path) -> None:
    """The node sees the folder of artefacts and asks the registry under the name that this machine has for it."""
    if NAME not in run("kind", "get", "clusters").split():
        config = {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "containerdConfigPatches": [
                '[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/containerd/certs.d"\n'
            ],
            "nodes": [
                {
                    "role": "control-plane",
                    "image": NODE,
                    "extraMounts": [{"hostPath": str(artefacts), "containerPath": "/artefacts", "readOnly": True}],
                }
            ],
        }
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as stream:
            json.dump(config, stream)  # JSON is YAML
            stream.flush()
            run("kind", "create", "cluster", "--name", NAME, "--config", stream.name, "--wait", "180s")
    kubeconfig.write_text(run("kind", "get", "kubeconfig", "--name", NAME))
    kubeconfig.chmod(0o600)
    node, folder = f"{NAME}-control-plane", f"/etc/containerd/certs.d/localhost:{PORT}"
    run("docker", "exec", node, "mkdir", "-p", folder)
    hosts = f'[host."http://{NAME}-registry:5000"]\n'
    run("docker", "exec", "--interactive", node, "cp", "/dev/stdin", f"{folder}/hosts.toml", given=hosts)
    joined = run("docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", f"{NAME}-registry")
    if "kind" not in json.loads(joined):
        run("docker", "network", "connect", "kind", f"{NAME}-registry")


def install_argo(path: Path) -> None:
    content = httpx.get(ARGO, timeout=60).raise_for_status().content
    if (found := hashlib.sha256(content).hexdigest()) != ARGO_SHA256:
        raise SystemExit(f"{ARGO}: its sha256 is {found}, not {ARGO_SHA256}")
    documents = list(yaml.safe_load_all(content.decode().replace("quay.io/argoproj/argo-rollouts:latest", ARGO_IMAGE)))
    (controller,) = (one for one in documents if one and one["kind"] == "Deployment")
    controller["spec"]["template"]["spec"]["containers"][0]["args"] = list(ARGO_FLAGS)
    path.write_text(yaml.safe_dump_all(documents))
    namespace = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argo-rollouts"}})
    run(kubectl(), "apply", "-f", "-", given=namespace)
    # Server-side: the definitions are too long for an annotation.
    run(kubectl(), "apply", "--server-side", "--namespace", "argo-rollouts", "-f", str(path))
    run(kubectl(), "rollout", "status", "--namespace", "argo-rollouts", "--timeout=300s", "deployment/argo-rollouts")


def install_traefik() -> None:
    words = ["--namespace", "traefik", "--create-namespace", "--repo", TRAEFIK_CHARTS, "--version", TRAEFIK_CHART]
    # Nothing in kind gives a Service of type LoadBalancer an address, and --wait would wait for one.
    words += ["--set", "service.spec.type=ClusterIP", "--wait", "--timeout", "5m"]
    # Names of two namespaces can be the same in Traefik otherwise.
    words += ["--set", "additionalArguments={--providers.kubernetescrd.safenaming=true}"]
    run("helm", "upgrade", "--install", "traefik", "traefik", *words)


def volume() -> dict[str, object]:
    spec = {
        "accessModes": ["ReadOnlyMany"],
        "capacity": {"storage": "10Gi"},
        "hostPath": {"path": "/artefacts", "type": "Directory"},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
    }
    metadata = {"name": "sluice-artefacts"}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def push_image(name: str) -> str:
    """NAME@sha256:DIGEST as the registry has it, built of this checkout."""
    local, remote = f"localhost/{name}", f"localhost:{PORT}/{name}"
    if name == "sluice":  # builds both
        run(str(ROOT / ".venv" / "bin" / "sluice"), "image", "build", "--tag", local)
    with tempfile.TemporaryDirectory() as folder:
        digest = Path(folder) / "digest"
        run("podman", "push", "--tls-verify=false", "--digestfile", str(digest), local, remote)
        return f"{remote}@{digest.read_text().strip()}"


def run(*words: str, given: str | None = None) -> str:
    """What it writes to stdout. What it says on stderr is passed on; a failure ends all."""
    done = subprocess.run(words, input=given, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:3])}: ended with {done.returncode}")
    return done.stdout


def fail(words: str) -> int:
    print(f"error: {words}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
