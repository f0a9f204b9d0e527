"""Writes a release into a folder of git for Argo CD or Flux, and waits until they have applied it.

Such a tool puts back what differs from git. So what Argo Rollouts changes during a canary is left to it: the selectors
of its Services, and the weights of its routes.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.apply import is_route, jobs_of, wait_for_job
from sluice.cluster.kubectl import ClusterUnreachableError, find
from sluice.cluster.manifests import Manifest, parse, place
from sluice.cluster.release_overlay import marked, rollout_of
from sluice.cluster.rollback import FROM_GIT, is_unjudged, without_analyses
from sluice.cluster.rollout_observer import RolloutObserver
from sluice.cluster.rollout_status import RolloutStatus, read_rollout
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks

FILE = "release.yaml"
# For a person to merge, and for the tool to look at git again.
_ARRIVAL_SECONDS = 1800.0
_HEAD = "# Written by `sluice manifests render`: change k8s/ and render again.\n"
_SELECTED = re.compile(r'"(?:stable|canary|active|preview|ping|pong)Service": "([^"]+)"')
# Pods of earlier releases mount their ConfigMaps, and the other kinds hold data.
_NEVER_PRUNED = ("ConfigMap", "Namespace", "PersistentVolumeClaim", "Cluster")


def write_release(
    folder: Path, documents: Sequence[Manifest], *, first: bool | None = None, rollback: bool = False
) -> None:
    """Write a rendered release.

    `first`: without the routes of visitors; None: as the release before it says. `rollback`: without analyses."""
    rollout, path, judges = marked(rollout_of(documents)), folder / FILE, hooks("first_release").values()
    if path.exists() and not path.read_text().startswith(_HEAD):
        raise SluiceError(f"{path}: Sluice did not write this file", remedy="give another folder as --into")
    before = rollout_of(parse(path.read_text())) if path.exists() else None
    unknown = not before or (is_unjudged(before) and read_rollout(before).release != read_rollout(rollout).release)
    if first is None and judges and unknown:
        raise SluiceError(
            f"{path}: no release was judged here yet" if before else f"{path}: it is not there yet",
            remedy="--first keeps visitors away until `sluice deploy --watch` has judged it; --no-first if one is live",
        )
    gate = next((judged(None, rollout, documents) for judged in judges), None) if first else None
    if rollback:
        rollout["spec"]["strategy"] = without_analyses(rollout["spec"]["strategy"])
    rollout["metadata"].setdefault("annotations", {})[FROM_GIT] = str(folder)
    kept = [one for one in documents if one["kind"] != "Rollout" and one not in (gate.routes if gate else ())]
    prepared = [*(_prepared(one, rollout["spec"]["strategy"]) for one in kept), rollout]
    write_atomic(path, _HEAD + yaml.safe_dump_all(prepared, sort_keys=False, width=120))


def _prepared(document: Manifest, strategy: Manifest) -> Any:
    """Return an object of which Argo CD and Flux leave alone what Argo Rollouts writes."""
    kind, name = document["kind"], document["metadata"]["name"]
    prepared: Any = copy.deepcopy(dict(document))
    annotations: dict[str, str] = {}
    if kind == "Service" and name in _SELECTED.findall(json.dumps(strategy)):
        # The controller patches its label in as soon as all pods are available (1.9.1, rollout/service.go:56-75,
        # 295-330); until then the Service leads nowhere. A selector is one field to the API server.
        prepared["spec"].pop("selector", None)
    elif is_route(document, strategy):
        annotations = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
    elif kind == "Job":
        prepared["spec"].pop("ttlSecondsAfterFinished", None)  # gone by itself, it would be made and run again
    elif kind in _NEVER_PRUNED:
        # A ConfigMap may be larger than the annotation in which a client-side apply repeats it.
        by_server = ",ServerSideApply=true" if kind == "ConfigMap" else ""
        annotations = {
            "kustomize.toolkit.fluxcd.io/prune": "disabled",
            "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
            "argocd.argoproj.io/sync-options": f"Prune=false{by_server}",
        }
    if annotations:
        prepared["metadata"]["annotations"] = (prepared["metadata"].get("annotations") or {}) | annotations
    return prepared


def await_applied(observer: RolloutObserver, release: str, jobs: Sequence[Manifest], seconds: float) -> None:
    """Wait until Argo CD or Flux has applied a release and its Jobs are done."""
    end, told = time.monotonic() + min(seconds, _ARRIVAL_SECONDS), ""
    while missing := _missing(observer, release, jobs):
        if missing != told:
            observer.show(f"waiting until Argo CD or Flux has brought {release} to the cluster: {missing}")
        if time.monotonic() > end:
            remedy = "is it merged, and did Argo CD or Flux sync it? Then run the same command again"
            raise SluiceError(f"{release} has not come to the cluster: {missing}", remedy=remedy)
        told = missing
        time.sleep(observer.patience.poll)
    for job in jobs:
        remedy = f"`kubectl delete job {job['metadata']['name']}`: Argo CD or Flux makes it again; then watch again"
        wait_for_job(observer.client, job, observer.show, observer.patience.lost, remedy)


def _missing(observer: RolloutObserver, release: str, jobs: Sequence[Manifest]) -> str:
    """Return what the cluster has not got yet."""
    client, target = observer.client, observer.target
    try:
        live = find(client, target.path)
        now = read_rollout(live) if live else RolloutStatus()
        if now.template != observer.template:
            same = ", rendered from another commit or with other options" if now.release == release else ""
            return f"it has {now.release or 'no release'}{same}"
        absent = [one for one in jobs if find(client, f"{jobs_of(target.namespace)}/{one['metadata']['name']}") is None]
        return f"{place(absent[0])} is missing" if absent else ""
    except ClusterUnreachableError as error:
        return error.message
