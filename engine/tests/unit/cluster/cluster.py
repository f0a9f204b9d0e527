"""What the tests of a deployment start from: a checkout with k8s/, a release, and what a cluster holds before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.release_overlay import LOAD
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest, identified
from starter_files import copy_starter
from support.kubernetes.api_server import KubeApi, compose, replica_set

RECORDINGS = Path(__file__).with_name("recordings")
IMAGE = "registry.example/sluice@sha256:" + "a" * 64
LOAD_IMAGE = "registry.example/sluice-load@sha256:" + "b" * 64


def recording(name: str) -> Any:
    return yaml.safe_load((RECORDINGS / f"{name}.yaml").read_text())


def checkout(root: Path) -> Workspace:
    """k8s/ and its schemas in a folder of their own; the overlay `local` names the image that judges canaries."""
    copy_starter(root, "k8s")
    overlay = root / "k8s" / "overlays" / "local" / "kustomization.yaml"
    settings = yaml.safe_load(overlay.read_text())
    (load,) = (one for one in settings["images"] if one["name"] == LOAD)
    load["newName"], load["digest"] = LOAD_IMAGE.split("@")
    overlay.write_text(yaml.safe_dump(settings))
    (root / "prompts").mkdir()
    (root / "pyproject.toml").touch()
    return Workspace(root)


def release(**changes: Any) -> Manifest:
    """A manifest of no files. Another `created` is another ConfigMap; another `commit` too."""
    return identified(
        {
            "created": "2026-01-01T00:00:00Z",
            "commit": "0" * 40,
            "parent": None,
            "prompts": {"answer": "1" * 64},
            "data": {"digest": "2" * 64},
            "index": {"digest": "3" * 64, "embedder": {}, "chunker": {}},
            "models": {},
            "adapter": None,
            "config": {},
            "files": {},
            "evaluation": {"cases_digest": "4" * 64, "metrics": {}},
            "gates": [],
            **changes,
        }
    )


def hold(api: KubeApi, *, name: str = "r-000000000000") -> None:
    """An earlier release is live: its Rollout, its pod, and Services that the controller has written to."""
    labels = {"app.kubernetes.io/name": "sluice", "app.kubernetes.io/version": name}
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.namespace}})
    api.put(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "sluice", "uid": "uid-sluice", "generation": 1},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/name": "sluice"}},
                "template": {"metadata": {"labels": labels}, "spec": {}},
            },
            "status": {
                "observedGeneration": "1",
                "phase": "Healthy",
                "currentPodHash": "old",
                "stableRS": "old",
            },
        }
    )
    api.put(replica_set("old", {"metadata": {"labels": labels}, "spec": {}}))
    for service in ("sluice-stable", "sluice-canary"):
        api.put(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": service},
                "spec": {"selector": {"app.kubernetes.io/name": "sluice", "rollouts-pod-template-hash": "old"}},
            }
        )
        api.written.add(api.path("Service", service))
    services = [
        {"name": "sluice-stable", "port": 80, "weight": 100},
        {"name": "sluice-canary", "port": 80, "weight": 0},
    ]
    api.put(
        {
            "apiVersion": "traefik.io/v1alpha1",
            "kind": "TraefikService",
            "metadata": {"name": "sluice"},
            "spec": {"weighted": {"services": services}},
        }
    )
    api.written.add(api.path("TraefikService", "sluice"))
    api.put(compose({"pod": {"name": "sluice-old-1", "hash": "old", "ready": True}}, None))
