"""Renders an overlay of k8s/ with one release in it, as a kustomization on top of the overlay."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sluice.cluster import manifests
from sluice.cluster.rollout_status import RELEASE_LABEL, TEMPLATE_ANNOTATION
from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import nearest
from sluice.core.workspace import Workspace
from sluice.release.manifest import FILE, PINNED, Manifest

# Names of the images in k8s/: the service with its init container, and the Jobs of the analyses.
SERVING, LOAD = "sluice", "sluice-load"
# The API server takes objects of up to about this size.
_CONFIGMAP_BYTES = 1_000_000
# Kinds with words that only a deployment knows: NAMESPACE, PROJECT and ENVIRONMENT. Two environments would else share a
# host name, a folder of backups, secrets and alerts.
_FILLED_IN = ("IngressRoute", "Cluster", "ExternalSecret", "PrometheusRule")


def render_release(
    workspace: Workspace, environment: str, release: Manifest, image: str = "", load_image: str = ""
) -> list[Any]:
    """Return the validated documents for a cluster."""
    overlay = _overlay(workspace, environment)
    settings = yaml.safe_load((overlay / "kustomization.yaml").read_text()) or {}
    if not settings.get("namespace"):
        raise SluiceError(f"{overlay / 'kustomization.yaml'}: no namespace", remedy="add the key `namespace`")
    content = release.to_bytes()
    if len(content) > _CONFIGMAP_BYTES:
        raise SluiceError(
            f"{release.id}: its {FILE} has {len(content)} bytes, a ConfigMap holds {_CONFIGMAP_BYTES}",
            remedy="put fewer files into the release",
        )
    folder = workspace.state / "deploy" / environment
    write_atomic(folder / FILE, content.decode())
    layer = _layer(folder, overlay, settings, release)
    layer["images"] = [_image(settings, *one) for one in ((SERVING, image), (LOAD, load_image)) if one[1]]
    write_atomic(folder / "kustomization.yaml", yaml.safe_dump(layer))
    documents = [dict(one) for one in manifests.parse(manifests.render(folder))]
    namespace, labels = settings["namespace"], rollout_of(documents)["metadata"].get("labels", {})
    words = {"NAMESPACE": namespace, "PROJECT": labels.get("project", namespace), "ENVIRONMENT": environment}
    documents = [_filled_in(one, words) if one["kind"] in _FILLED_IN else one for one in documents]
    for job in (one for one in documents if one["kind"] == "Job"):  # it can't be changed once it is made
        job["metadata"]["name"] += f"-{digest_of(job['spec'])[:10]}"
    manifests.validate(documents, *manifests.schema_folders(workspace.root))
    if loose := manifests.unpinned(documents, placeholders=False):
        raise ValidationErrors(
            environment,
            loose,
            remedy="give --image and --load-image as REPOSITORY@sha256:DIGEST; other images are named in the overlay",
        )
    return documents


def _filled_in(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(rf"\b({'|'.join(words)})\b", lambda found: words[found[0]], value)
    if isinstance(value, list):
        return [_filled_in(one, words) for one in value]
    if isinstance(value, dict):
        return {key: _filled_in(one, words) for key, one in value.items()}
    return value


def rollout_of(documents: Sequence[Any]) -> Any:
    found = [one for one in documents if one["kind"] == "Rollout"]
    if len(found) != 1:
        raise SluiceError(f"{len(found)} Rollouts were rendered, expected one", remedy="an overlay has exactly one")
    return found[0]


def marked(rollout: Any) -> Any:
    """Return the Rollout with a digest of its namespace and pod template on that template: the hash that Argo Rollouts
    makes of it is then of this environment alone, and the queries of a canary select by it."""
    marked = copy.deepcopy(dict(rollout))
    place = marked["metadata"].get("namespace", "")
    metadata = marked["spec"]["template"].setdefault("metadata", {})
    metadata.setdefault("annotations", {})[TEMPLATE_ANNOTATION] = digest_of([place, marked["spec"]["template"]])[:16]
    return marked


def place_of_rollout(workspace: Workspace, environment: str) -> tuple[str, str]:
    """Return namespace and name of the Rollout."""
    metadata = rollout_of(manifests.parse(manifests.render(_overlay(workspace, environment))))["metadata"]
    return metadata["namespace"], metadata["name"]


def _overlay(workspace: Workspace, environment: str) -> Path:
    folders = {path.parent.name: path.parent for path in workspace.root.glob("k8s/overlays/*/kustomization.yaml")}
    if environment not in folders:
        raise SluiceError(
            f"k8s/overlays/{environment}: no such environment{nearest(environment, list(folders))}",
            remedy=f"there are {', '.join(sorted(folders)) or 'none'}",
        )
    return folders[environment]


def _layer(folder: Path, overlay: Path, settings: dict[str, Any], release: Manifest) -> dict[str, Any]:
    label = {RELEASE_LABEL: release.id}
    # Within one Rollout: a merge patch, since kustomize knows no more of custom resources.
    patch = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "any", "labels": label},
        "spec": {"template": {"metadata": {"labels": label}}},
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "any", "labels": label}}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": settings["namespace"],
        "resources": [os.path.relpath(overlay, folder)],  # kustomize refuses absolute paths
        "configMapGenerator": [{"name": "sluice-release", "behavior": "replace", "files": [FILE]}],
        "patches": [
            {"target": {"kind": "Rollout"}, "patch": yaml.safe_dump(patch)},
            {"target": {"kind": "Job"}, "patch": yaml.safe_dump(job)},
        ],
    }


def _image(settings: dict[str, Any], name: str, image: str) -> dict[str, str]:
    found = PINNED.fullmatch(image)
    if not found:
        raise SluiceError(f"{image}: not an image by digest", remedy="name it as REPOSITORY@sha256:DIGEST")
    # The overlay has already given the image its name: this layer finds it by that one.
    named = {one["name"]: one.get("newName", one["name"]) for one in settings.get("images", ())}
    return {"name": named.get(name, name), "newName": found["name"], "digest": found["digest"]}
