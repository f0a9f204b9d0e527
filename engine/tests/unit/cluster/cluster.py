"""What the tests of a deployment start from: a checkout with k8s/, a release, and what a cluster holds before it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from sluice.cluster.release_overlay import LOAD, render_release
from sluice.cluster.rollout_status import HASH_LABEL, RELEASE_LABEL
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest, identified
from starter_files import copy_starter
from support.kubernetes.api_server import KubeApi
from support.kubernetes.control_plane import ControlPlane

IMAGE = "registry.example/sluice@sha256:" + "a" * 64
LOAD_IMAGE = "registry.example/sluice-load@sha256:" + "b" * 64


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


BEFORE = "r-000000000000"


@cache
def rendered() -> str:
    """One release for the overlay `local`, as JSON."""
    with TemporaryDirectory() as folder:
        return json.dumps(render_release(checkout(Path(folder)), "local", release(), IMAGE))


def documents_of(name: str = "") -> list[Any]:
    """That release; with a name, one like it."""
    text = rendered()
    if name:
        (manifest,) = set(re.findall(r"sluice-release-[a-z0-9]{10}", text))
        text = text.replace(release().id, name).replace(manifest, f"sluice-release-{name[-10:]}")
    return list(json.loads(text))


def is_live(rollout: Any) -> bool:
    status = rollout["status"]
    observed = status.get("observedGeneration") == str(rollout["metadata"]["generation"])
    return bool(observed and status["phase"] == "Healthy" and status["stableRS"] == status["currentPodHash"])


def bring(plane: ControlPlane, name: str, until: Callable[[Any], bool] = is_live) -> Any:
    """Applies a release as `sluice deploy` does and lets the controllers go on until the Rollout is as asked for.

    Returns:
        The Rollout."""
    api = plane.api
    plane.move(seconds=5)
    there = api.find("Rollout", "sluice") is not None
    for one in documents_of(name):
        if not there or one["kind"] in ("ConfigMap", "Rollout"):  # selectors and weights are the controller's
            api.apply(one, force=True)
    for _ in range(500):
        plane.turn()
        rollout = api.objects[api.path("Rollout", "sluice")]
        if rollout.get("status") and until(rollout):
            return rollout
    raise AssertionError(f"{name}: {rollout['status']}")


def hold(plane: ControlPlane, name: str = BEFORE) -> Any:
    """An earlier release is live. Its pods of a while ago are gone."""
    rollout = bring(plane, name)
    plane.settle()
    return rollout


def stopped(rollout: Any) -> bool:
    observed = rollout["status"].get("observedGeneration") == str(rollout["metadata"]["generation"])
    return bool(observed and rollout["status"].get("abort"))


def template_hash(api: KubeApi, name: str) -> str:
    """Of the ReplicaSet of a release."""
    (found,) = (one for one in api.all("ReplicaSet") if one["metadata"]["labels"][RELEASE_LABEL] == name)
    return str(found["metadata"]["labels"][HASH_LABEL])
