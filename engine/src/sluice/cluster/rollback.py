"""Returns to the pod template of an earlier release that was promoted.

Argo Rollouts keeps the ReplicaSets of earlier revisions, but numbers stopped ones too. So hashes of promoted
templates are kept in annotations of the Rollout, newest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from sluice.cluster.kubectl import MANAGER, Cluster, Show, patch, read
from sluice.cluster.rollout_observer import RolloutObserver, RolloutTarget, WatchTimeouts, target_of
from sluice.cluster.rollout_outcome import RolloutOutcome
from sluice.cluster.rollout_status import HASH_LABEL, RELEASE_LABEL, RolloutStatus, read_rollout, template_key
from sluice.core.errors import SluiceError

_REVISION = "rollout.argoproj.io/revision"
_PROMOTED, _LEFT = "sluice/promoted", "sluice/rolled-back-from"
_KEPT = 20
# On a Rollout that Argo CD or Flux applies: the folder in git.
FROM_GIT = "sluice/from-git"
# On a Rollout of which no release was judged yet: the extra `first_release` writes it.
UNJUDGED = "sluice/unjudged"


@dataclass(frozen=True)
class Revision:
    """One ReplicaSet of the Rollout. `made` is an ISO 8601 time."""

    number: int
    template_hash: str
    release: str
    template: Mapping[str, Any]
    made: str = ""


def rollback(
    cluster: Cluster,
    namespace: str,
    name: str,
    *,
    release: str = "",
    recorded: str = "",
    show: Show,
    seconds: float,
    patience: WatchTimeouts,
) -> tuple[str, RolloutOutcome | None]:
    """Go back to a release. `recorded`: one that was live, by the environment's record."""
    with cluster.client() as client:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/{name}"
        document = read(client, path)
        now = read_rollout(document)
        if is_unjudged(document):
            raise SluiceError(
                f"{name}: no release has passed its canary here yet",
                remedy="deploy one that passes; nobody uses the service yet",
            )
        remembered = read_promotions(document)
        known = revisions(client, target_of(document), now.uid)
        chosen = choose(now, known, release, remembered, recorded)
        label = chosen.release or f"revision {chosen.number}"
        arrived = from_git(document) and template_key(chosen.template) == now.template
        if chosen.template_hash == now.current and now.phase == "Healthy" and now.stable == now.current and not arrived:
            return label, None
        if chosen.template_hash != now.stable and not arrived:
            require_not_from_git(document, f"`sluice rollback {label}` watches it", f" --release {label} --rollback")
        for volume in chosen.template["spec"].get("volumes") or ():
            if named := (volume.get("configMap") or {}).get("name"):  # without it its pods would not start
                read(client, f"/api/v1/namespaces/{namespace}/configmaps/{named}")
        wanted = manifest(document, chosen)
        observer = RolloutObserver(client, wanted, show, patience)
        if now.current != now.stable and not now.first and not now.aborted and not arrived:
            observer.abort()
            show("aborted: stable gets all traffic")
        if from_git(document) and not arrived:
            show(f"git still has {now.release}: revert its commit")
            return label, RolloutOutcome("promoted")
        show(f"back to {label} (revision {chosen.number})")
        if not arrived:
            observer.earlier = frozenset(observer.look().runs)  # none is of this rollback
            cluster.apply([wanted], force=True)
        ended = observer.until_end(seconds)
        if ended.kind == "promoted":
            was = remembered.promoted[0] if arrived and remembered.promoted else now.stable
            left = was if was != chosen.template_hash else ""
            write_promotions(client, path, remembered.with_promoted(chosen.template_hash, instead_of=left))
        return label, ended


def from_git(rollout: Mapping[str, Any]) -> str:
    """Return the folder in git that a Rollout comes from, or nothing."""
    return str((rollout["metadata"].get("annotations") or {}).get(FROM_GIT, ""))


def require_not_from_git(rollout: Mapping[str, Any], then: str, options: str = "") -> None:
    if folder := from_git(rollout):
        raise SluiceError(
            f"{rollout['metadata']['name']}: it comes from git ({folder}), and Argo CD or Flux would put it back",
            remedy=f"`sluice manifests render ENVIRONMENT --into {folder}{options}`, commit that, and {then}",
        )


def revisions(client: httpx.Client, target: RolloutTarget, uid: str) -> list[Revision]:
    """List the revisions that the cluster still holds, newest first."""
    found = []
    for one in read(client, target.replica_sets, labelSelector=target.selector)["items"]:
        metadata, template = one["metadata"], one["spec"]["template"]
        if uid not in [owner.get("uid") for owner in metadata.get("ownerReferences") or ()]:
            continue
        labels = dict((template.get("metadata") or {}).get("labels") or {})
        digest = str(labels.get(HASH_LABEL, metadata.get("labels", {}).get(HASH_LABEL, "")))
        number = int((metadata.get("annotations") or {}).get(_REVISION, 0))
        made = str(metadata.get("creationTimestamp", ""))
        found.append(Revision(number, digest, str(labels.get(RELEASE_LABEL, "")), template, made))
    return sorted(found, key=lambda one: one.number, reverse=True)


def choose(
    now: RolloutStatus, known: list[Revision], release: str, remembered: Promotions, recorded: str = ""
) -> Revision:
    """Return the revision to go back to.

    Without a name: stable during a rollout, otherwise what the record says, otherwise the promotion before."""
    names = ", ".join(one.release or f"revision {one.number}" for one in known) or "none"
    if not release and now.current == now.stable:
        release = recorded
    if release:
        live = {*remembered.known, now.stable}
        wanted = [one for one in known if one.release == release]
        if wanted and release != recorded and not any(one.template_hash in live for one in wanted):
            raise SluiceError(
                f"{now.name}: {release} was never promoted here, so a rollback would skip its canary",
                remedy=f"deploy it: `sluice deploy --release {release}`",
            )
        wanted.sort(key=lambda one: one.template_hash not in live)
    elif now.current != now.stable:
        wanted = [one for one in known if one.template_hash == now.stable]
    elif not remembered.promoted:
        raise SluiceError(
            f"{now.name}: unknown which release was promoted before; the cluster has {names}",
            remedy="name one: `sluice rollback RELEASE --env ENVIRONMENT`",
        )
    else:
        there = {one.template_hash: one for one in known}
        wanted = [there[one] for one in remembered.promoted if one in there and one != now.current]
    if not wanted:
        what = f"{release} is not in the cluster any more" if release else "there is no earlier release in the cluster"
        raise SluiceError(
            f"{now.name}: {what}; it holds {names}", remedy="deploy an older release with `sluice deploy`"
        )
    return wanted[0]


def manifest(document: Mapping[str, Any], chosen: Revision) -> dict[str, Any]:
    """Return the Rollout with another template, and a strategy that doesn't judge it."""
    metadata = document["metadata"]
    # A pause by a person would keep Argo Rollouts from moving a single pod, and a restart belongs to what is live.
    left_out = ("template", "strategy", "paused", "restartAt", "rollbackWindow")
    spec = {key: value for key, value in document["spec"].items() if key not in left_out}
    if document["spec"].get("paused"):
        spec["paused"] = False
    if not owns_replicas(metadata):
        spec.pop("replicas", None)  # an autoscaler's
    template = {key: value for key, value in chosen.template.items() if key != "metadata"}
    labels = {k: v for k, v in chosen.template["metadata"].get("labels", {}).items() if k != HASH_LABEL}
    annotations = chosen.template["metadata"].get("annotations")
    about = {"labels": labels, **({"annotations": annotations} if annotations else {})}
    own = {key: value for key, value in (metadata.get("labels") or {}).items() if key != RELEASE_LABEL}
    channels = {k: v for k, v in (metadata.get("annotations") or {}).items() if "argoproj.io/subscribe." in k}
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**own, **({RELEASE_LABEL: chosen.release} if chosen.release else {})},
            **({"annotations": channels} if channels else {}),  # components/notifications: else they would be gone
        },
        "spec": {
            **spec,
            "strategy": without_analyses(document["spec"]["strategy"]),
            "template": {"metadata": about, **template},
        },
    }


def without_analyses(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the strategy that starts all pods and then moves all visitors, in either direction.

    A `rollbackWindow` moves half of the visitors to the first pod that is ready (1.9.1,
    rollout/trafficrouting.go:248-258), and a blue-green rollout in it waits for an analysis that isn't run
    (rollout/analysis.go:77-82, rollout/pause.go:137-141)."""
    if "blueGreen" in strategy:
        left_out: tuple[str, ...] = ("prePromotionAnalysis", "autoPromotionSeconds")
        kept = {key: value for key, value in strategy["blueGreen"].items() if key not in left_out}
        return {"blueGreen": {**kept, "autoPromotionEnabled": True}}
    left_out = ("analysis", "steps", "replicaProgressThreshold")
    canary = {key: value for key, value in strategy["canary"].items() if key not in left_out}
    if "trafficRouting" in canary:  # without it, pods are replaced one after the other
        canary["steps"] = [{"setCanaryScale": {"weight": 100}}, {"setWeight": 100}]
    return {"canary": canary}


def owns_replicas(metadata: Mapping[str, Any]) -> bool:
    """Check that the overlay sets the number of pods, and no autoscaler."""
    return any(
        one.get("manager") == MANAGER and "f:replicas" in (one.get("fieldsV1") or {}).get("f:spec", {})
        for one in metadata.get("managedFields") or ()
    )


@dataclass(frozen=True)
class Promotions:
    """Hashes of promoted templates, and of those rolled back from, newest first."""

    promoted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self.promoted + self.left)

    def with_promoted(self, template_hash: str, *, instead_of: str = "") -> Promotions:
        """Return what is known once a template is live, perhaps instead of one that was rolled back from."""
        gone = {template_hash, instead_of}
        left = (instead_of, *self.left) if instead_of else self.left
        return Promotions(
            (template_hash, *(one for one in self.promoted if one not in gone))[:_KEPT],
            tuple(dict.fromkeys(one for one in left if one != template_hash))[:_KEPT],
        )


def read_promotions(rollout: Mapping[str, Any]) -> Promotions:
    annotations = rollout["metadata"].get("annotations") or {}
    return Promotions(*(tuple(str(annotations.get(key, "")).split()) for key in (_PROMOTED, _LEFT)))


def is_unjudged(rollout: Mapping[str, Any]) -> bool:
    """Check that no release of the Rollout may have visitors yet."""
    return UNJUDGED in (rollout["metadata"].get("annotations") or {})


def write_promotions(client: httpx.Client, path: str, now: Promotions) -> None:
    """Patch the annotations, which a server-side apply of `sluice deploy` doesn't own and so leaves alone."""
    annotations = {_PROMOTED: " ".join(now.promoted), _LEFT: " ".join(now.left), UNJUDGED: None}
    patch(client, path, {"metadata": {"annotations": annotations}})
