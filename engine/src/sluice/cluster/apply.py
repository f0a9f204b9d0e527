"""Applies rendered manifests to a cluster, in an order in which a rejected object leaves the running release unchanged.

First all objects are tried in a dry run on the API server. Then all but Jobs and the Rollout are applied. Jobs come
next (`jobs.py`); the Rollout comes last, and with it the new pods.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from sluice.cluster.kubectl import Cluster, ConflictError, Show
from sluice.cluster.manifests import Manifest, place
from sluice.cluster.rollout_status import HASH_LABEL

_ATTEMPTS = 3


def apply(cluster: Cluster, documents: Sequence[Manifest], show: Show, *, later: Sequence[Manifest] = ()) -> None:
    """Applies everything but Jobs, the Rollout and what comes `later`, after a dry run of all of it."""
    if missing := _absent(cluster, [one for one in documents if one["kind"] == "Namespace"]):
        cluster.apply(missing)  # nothing can be tried in a namespace that is not there
        show(f"made {', '.join(map(place, missing))}")
    first = [one for one in documents if one["kind"] not in ("Job", "Rollout") and one not in later]
    for attempt in range(1, _ATTEMPTS + 1):
        live = cluster.live([one for one in first if one["kind"] in ("Service", "TraefikService")])
        kept = keep(first, live)
        parts = {place(one): _parts(one) for one in live}
        # Of another type of deployment: the list is whole to the API server, and the controller owns it
        # (Argo Rollouts 1.9.1, rollout/trafficrouting/traefik/traefik.go:88-137).
        other = [one for one in kept if _parts(one) != parts.get(place(one), _parts(one))]
        kept = [one for one in kept if one not in other]
        try:
            cluster.apply(kept, dry_run=True)
            cluster.apply(other, dry_run=True, force=True)
            if attempt == 1:
                cluster.apply([one for one in documents if one["kind"] == "Job" or one in later], dry_run=True)
                cluster.apply([one for one in documents if one["kind"] == "Rollout"], dry_run=True, force=True)
            cluster.apply(kept)
            cluster.apply(other, force=True)
            break
        except ConflictError:
            # The controller moved a weight between our look and our write: look again.
            if attempt == _ATTEMPTS:
                raise
    show(f"applied {len(first)} manifests")


def keep(documents: Sequence[Manifest], live: Sequence[Manifest]) -> list[Manifest]:
    """`documents` without the selector of a Service into which Argo Rollouts has written a pod hash, and with the
    weights that it has written into a TraefikService.

    Both are whole to the API server. The selector is the controller's from then on: what is not applied stays, and in
    the half minute after an abort the controller moves it to and fro, so a selector that was read is a conflict (Argo
    Rollouts 1.9.1, rollout/trafficrouting.go:212 and rollout/service.go:283)."""
    there = {(one["kind"], one["metadata"]["name"]): one for one in live}
    kept: list[Manifest] = []
    for one in documents:
        other = there.get((one["kind"], one["metadata"]["name"]))
        document: Any = copy.deepcopy(dict(one))
        if other is not None and one["kind"] == "Service":
            if HASH_LABEL in (other["spec"].get("selector") or {}):
                document["spec"].pop("selector", None)
        elif other is not None and one["kind"] == "TraefikService":
            _keep_weights(document["spec"], other["spec"])
        kept.append(document)
    return kept


def _keep_weights(spec: Any, live: Mapping[str, Any]) -> None:
    weights = {one["name"]: one.get("weight") for one in (live.get("weighted") or {}).get("services") or ()}
    for service in (spec.get("weighted") or {}).get("services") or ():
        if weights.get(service["name"]) is not None:
            service["weight"] = weights[service["name"]]


def _parts(document: Manifest) -> set[str]:
    """The Services between which a TraefikService divides visitors."""
    return {one["name"] for one in (document.get("spec", {}).get("weighted") or {}).get("services") or ()}


def _absent(cluster: Cluster, documents: Sequence[Manifest]) -> list[Manifest]:
    there = {place(one) for one in (cluster.live(documents) if documents else ())}
    return [one for one in documents if place(one) not in there]
