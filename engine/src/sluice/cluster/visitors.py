"""Returns the visitors of a stopped canary to stable."""

from __future__ import annotations

from sluice.cluster.kubectl import Cluster, read
from sluice.cluster.rollback import choose, manifest, read_promotions, revisions
from sluice.cluster.rollout_observer import RolloutObserver
from sluice.cluster.rollout_status import HASH_LABEL, read_rollout
from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until


def after_stop(cluster: Cluster, observer: RolloutObserver, *, from_git: bool) -> tuple[str, ...]:
    """Give visitors back that the controller leaves on a stopped canary; return what a person has to do.

    While stable lacks a pod, the controller writes no weight (1.9.1, rollout/trafficrouting.go:273) and sets the
    Service of the canary to the stopped release at each reconcile. With stable's template, both Services stay."""
    rollout = observer.picture.rollout
    if not rollout.aborted or rollout.first:
        return ()
    stable = observer.picture.replica_sets.get(rollout.stable)
    dead = "no pod of stable is available: `sluice deploy --over-dead-stable` promotes a release without judging it"
    hints = () if stable and stable.available else (dead,)
    if not rollout.weight:
        return hints
    share = f"{rollout.weight} % of the visitors may still reach {rollout.release}"
    if from_git:
        return (f"{share}: revert its commit in git", *hints)
    observer.show(f"the stopped release keeps {rollout.weight} % of the visitors: giving them back to stable")
    try:
        why = "" if _give_back(cluster, observer) else "the controller hasn't moved them"
    except SluiceError as error:
        why = error.message
    if not why:
        observer.show("all visitors are on stable")
        return hints
    return (f"{share} ({why}): run `sluice rollback` until it says what is live", *hints)


def _give_back(cluster: Cluster, observer: RolloutObserver) -> bool:
    client, target, stopped = observer.client, observer.target, observer.picture.rollout.current
    document = read(client, target.path)
    now = read_rollout(document)
    if now.template != observer.template:
        raise SluiceError(f"{now.release or 'another pod template'} was deployed over it")
    chosen = choose(now, revisions(client, target, now.uid), "", read_promotions(document))
    cluster.apply([manifest(document, chosen)], force=True)
    canary = document["spec"]["strategy"].get("canary") or {}
    services = [canary[key] for key in ("canaryService", "stableService") if key in canary]

    def back() -> bool:
        if observer.look().rollout.current == stopped:
            return False
        found = [read(client, f"/api/v1/namespaces/{target.namespace}/services/{name}") for name in services]
        return all((one["spec"].get("selector") or {}).get(HASH_LABEL) != stopped for one in found)

    return wait_until(back, seconds=observer.patience.settle, every=observer.patience.poll)
