"""Writes a release into a folder of git for Argo CD or Flux, which apply it in the place of `sluice deploy`.

Such a tool puts back what differs from git. So what Argo Rollouts changes during a canary is left to it: the selectors
of its Services, and the weights of its routes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.manifests import Manifest, parse
from sluice.cluster.release_overlay import marked, rollout_of
from sluice.cluster.rollback import is_unjudged
from sluice.cluster.rollout_status import RELEASE_LABEL
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks

# On a Rollout that comes from git: the folder.
FROM_GIT = "sluice/from-git"
FILE = "release.yaml"
_HEAD = "# Written by `sluice manifests render`: change k8s/ and render again.\n"
_KUSTOMIZATION = f"""# Written once. Add objects and patches of your own here.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - {FILE}
"""
_SERVICES = ("stableService", "canaryService", "activeService", "previewService", "pingService", "pongService")
# Pods of earlier releases mount their ConfigMaps, and the other kinds hold data.
_NEVER_PRUNED = ("ConfigMap", "Namespace", "PersistentVolumeClaim", "Cluster")


def write_release(folder: Path, documents: Sequence[Manifest], *, first: bool | None = None) -> list[Path]:
    """Write a rendered release.

    Args:
        first: no release is live in the environment yet. The routes of its visitors are left out, and a release that is
            written later without `first` brings them. None: as the release in the folder says.
    """
    rollout = marked(rollout_of(documents))
    path = folder / FILE
    before = _written(path)
    judges = hooks("first_release").values()
    if first is None and judges and _is_first(before, rollout):
        raise SluiceError(
            f"{path}: no release was judged here yet" if before else f"{path}: it is not there yet",
            remedy="--first keeps visitors away until `sluice deploy --watch` has judged it; --no-first if one is live",
        )
    gate = next((judged(None, rollout, documents) for judged in judges), None) if first else None
    rollout["metadata"].setdefault("annotations", {})[FROM_GIT] = str(folder)
    kept = [one for one in documents if one["kind"] != "Rollout" and one not in (gate.routes if gate else ())]
    prepared = [*(_prepared(one, rollout["spec"]["strategy"]) for one in kept), rollout]
    write_atomic(path, _HEAD + yaml.safe_dump_all(prepared, sort_keys=False, width=120))
    if not (folder / "kustomization.yaml").exists():
        write_atomic(folder / "kustomization.yaml", _KUSTOMIZATION)
    return [path, folder / "kustomization.yaml"]


def _written(path: Path) -> Any | None:
    """Return the Rollout that was written before."""
    if not path.exists():
        return None
    text = path.read_text()
    if not text.startswith(_HEAD):
        raise SluiceError(f"{path}: Sluice did not write this file", remedy="give another folder as --into")
    return rollout_of(parse(text))


def _is_first(before: Any | None, rollout: Any) -> bool:
    """Check that nothing in the folder says that a release is live. Writing the same one again lets visitors in."""
    return before is None or (is_unjudged(before) and _release(before) != _release(rollout))


def _release(rollout: Any) -> str:
    return str(rollout["spec"]["template"]["metadata"]["labels"][RELEASE_LABEL])


def _prepared(document: Manifest, strategy: Manifest) -> Any:
    """Return an object of which Argo CD and Flux leave alone what Argo Rollouts writes."""
    kind, name = document["kind"], document["metadata"]["name"]
    prepared: Any = copy.deepcopy(dict(document))
    annotations: dict[str, str] = {}
    if kind == "Service" and name in {text for key, text in _texts(strategy) if key in _SERVICES}:
        # The controller patches its label in as soon as all pods are available (1.9.1, rollout/service.go:56-75,
        # 295-330); until then the Service leads nowhere. A selector is one field to the API server.
        prepared["spec"].pop("selector", None)
    elif kind in ("TraefikService", "HTTPRoute", "GRPCRoute", "VirtualService") and name in _routed(strategy):
        annotations["kustomize.toolkit.fluxcd.io/ssa"] = "IfNotPresent"
    elif kind == "Job":
        prepared["spec"].pop("ttlSecondsAfterFinished", None)  # gone by itself, it would be made and run again
    elif kind in _NEVER_PRUNED:
        annotations["kustomize.toolkit.fluxcd.io/prune"] = "disabled"
        annotations["argocd.argoproj.io/compare-options"] = "IgnoreExtraneous"
        # A ConfigMap may be larger than the annotation in which a client-side apply repeats it.
        by_server = ",ServerSideApply=true" if kind == "ConfigMap" else ""
        annotations["argocd.argoproj.io/sync-options"] = f"Prune=false{by_server}"
    if annotations:
        prepared["metadata"]["annotations"] = {**(prepared["metadata"].get("annotations") or {}), **annotations}
    return prepared


def _routed(strategy: Manifest) -> set[str]:
    return {text for _, text in _texts((strategy.get("canary") or {}).get("trafficRouting"))}


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text with the key that it stands under."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _texts(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, key)
    elif isinstance(value, str):
        yield key, value
