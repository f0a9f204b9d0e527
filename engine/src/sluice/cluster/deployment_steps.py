"""What `sluice deploy` looks at before it applies a Rollout, and does to it afterwards."""

from __future__ import annotations

import httpx

from sluice.cluster.kubectl import MANAGER, Cluster, find, patch, read
from sluice.cluster.manifests import Manifest
from sluice.cluster.promotions import is_unjudged, read_promotions, write_promotions
from sluice.cluster.rollback import owns_replicas
from sluice.cluster.rollout_observer import RolloutObserver, WatchTimeouts
from sluice.cluster.rollout_status import ENDED, SCALE_DOWN_DEADLINE, read_rollout
from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until

# Longer than the `abortScaleDownDelaySeconds` of engine/k8s/components/blue-green.
_LEAVING_SECONDS = 150.0


def prepare(observer: RolloutObserver, live: Manifest | None, *, over_dead_stable: bool) -> frozenset[str]:
    """The runs that have ended already. SluiceError when stable answers and is to be replaced unjudged, or pods of
    before do not go."""
    if live is None:
        return frozenset()
    picture = observer.look()
    rollout = picture.rollout
    if rollout is None:
        return frozenset()
    stable = picture.replica_sets.get(rollout.stable)
    if over_dead_stable and stable is not None and stable.available:
        raise SluiceError(
            f"--over-dead-stable: {stable.available} pods of stable are available", remedy="deploy without it"
        )
    _await_leaving(observer)
    return frozenset(run.name for run in picture.runs.values() if run.phase in ENDED)


def note_live(observer: RolloutObserver, live: Manifest | None) -> None:
    """What is live and was not noted: its deployment was not watched to the end."""
    rollout = observer.picture.rollout
    if live is None or rollout is None or is_unjudged(live):
        return
    known = read_promotions(live)
    if rollout.phase != "Healthy" or rollout.stable != rollout.current or not observer.picture.begun:
        return
    if known.promoted[:1] != (rollout.stable,):
        write_promotions(observer.client, observer.target.path, known.with_promoted(rollout.stable))


def hand_over_replicas(cluster: Cluster, client: httpx.Client, path: str, wanted: Manifest) -> None:
    """Where an autoscaler is to decide from now on: the API server removes a number that nobody owns any more, and the
    controller makes it one pod (Argo Rollouts 1.9.1, rollout/controller.go:445-453)."""
    live = find(client, path)
    if live and "replicas" not in wanted["spec"] and owns_replicas(live["metadata"]):
        about = {key: live["metadata"][key] for key in ("name", "namespace")}
        kept = {**wanted, "metadata": about, "spec": {"replicas": live["spec"]["replicas"]}}
        cluster.apply([kept], force=True, manager=f"{MANAGER}-autoscaling")


def _await_leaving(observer: RolloutObserver) -> None:
    """Waits until the pods of this template that an aborted blue-green rollout left have gone.

    While they are there the controller takes the same template for one to go back to and makes it active unjudged
    (Argo Rollouts 1.9.1, rollout/replicaset.go:33-46, rollout/bluegreen.go:113-117)."""
    rollout = observer.picture.rollout
    if rollout is None or not rollout.blue_green:
        return
    own = [
        one
        for one in observer.picture.replica_sets.values()
        if one.template == observer.template and one.template_hash != rollout.stable and one.replicas
    ]
    if not own:
        return
    observer.show("waiting for the pods of the attempt before to go: with them Argo Rollouts would not judge it")

    def gone() -> bool:
        sets = observer.look().replica_sets
        return not any(sets[one.template_hash].replicas for one in own if one.template_hash in sets)

    if not wait_until(gone, seconds=_LEAVING_SECONDS, every=observer.patience.poll):
        raise SluiceError(
            "pods of the attempt before are still there", remedy="`sluice rollback`, wait a minute, and deploy again"
        )


def skip_steps(observer: RolloutObserver, why: str) -> None:
    """Promotes without steps and analyses: there is nothing to compare with, or no visitor yet."""
    if not wait_until(lambda: observer.look().begun, seconds=observer.patience.settle, every=observer.patience.poll):
        raise SluiceError("the controller does not begin", remedy="is the controller of Argo Rollouts running?")
    patch(observer.client, f"{observer.target.path}/status", {"status": {"promoteFull": True}})
    observer.show(why)


def remember(observer: RolloutObserver) -> None:
    """Notes what was promoted. Where it cannot, the verdict stays: the next deployment notes it (`note_live`)."""
    rollout = observer.picture.rollout
    try:
        known = read_promotions(read(observer.client, observer.target.path))
        write_promotions(observer.client, observer.target.path, known.with_promoted(rollout.current if rollout else ""))
    except SluiceError as error:
        observer.show(f"the promotion was not noted: {error.message}")


def await_retry(client: httpx.Client, path: str, patience: WatchTimeouts) -> None:
    def begun() -> bool:
        rollout = read_rollout(read(client, path))
        return not rollout.aborted and rollout.phase != "Degraded"

    if not wait_until(begun, seconds=patience.settle, every=0.2):
        raise SluiceError(
            "the Rollout still says that it is aborted", remedy="is the controller of Argo Rollouts running?"
        )


def forget_deadlines(observer: RolloutObserver) -> None:
    """Takes the time at which pods of stopped releases went off their ReplicaSets.

    The controller leaves it there for good, and takes no later release back for its progress deadline while one has it
    (Argo Rollouts 1.9.1, rollout/sync.go:374, 575-587, 672). Before it has begun with the next template it would write
    it again (rollout/replicaset.go:157-167)."""
    before = observer.picture
    gone = [one.template_hash for one in before.replica_sets.values() if one.leaving and not one.replicas]
    if not gone or not wait_until(
        lambda: observer.look().begun, seconds=observer.patience.settle, every=observer.patience.poll
    ):
        return
    current, observer.picture = observer.picture.rollout.current if observer.picture.rollout else "", before
    try:
        for one in gone:
            if one != current:
                path = f"{observer.target.replica_sets}/{observer.target.name}-{one}"
                patch(observer.client, path, {"metadata": {"annotations": {SCALE_DOWN_DEADLINE: None}}})
    except SluiceError as error:
        observer.show(f"a release that is never ready will not be taken back while nobody watches: {error.message}")
