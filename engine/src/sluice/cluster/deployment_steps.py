"""What `sluice deploy` looks at before it applies a Rollout, and does to it afterwards."""

from __future__ import annotations

import httpx

from sluice.cluster.kubectl import MANAGER, Cluster, find, patch, read
from sluice.cluster.manifests import Manifest
from sluice.cluster.rollback import is_unjudged, owns_replicas, read_promotions, write_promotions
from sluice.cluster.rollout_observer import RUNNING, RolloutObserver
from sluice.cluster.rollout_status import ENDED, SCALE_DOWN_DEADLINE
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.processes import wait_until

# Longer than the `abortScaleDownDelaySeconds` of engine/k8s/components/blue-green.
_LEAVING_SECONDS = 150.0


def prepare(observer: RolloutObserver, live: Manifest | None, *, over_dead_stable: bool) -> frozenset[str]:
    """The runs that have ended already. SluiceError when stable answers and is to be replaced unjudged, or pods of
    before do not go."""
    picture = observer.look() if live else observer.picture
    if (rollout := picture.rollout) is None:
        return frozenset()
    stable = picture.replica_sets.get(rollout.stable)
    if over_dead_stable and stable is not None and stable.available:
        up = f"--over-dead-stable: {stable.available} pods of stable are available"
        raise SluiceError(up, remedy="deploy without it")
    if rollout.blue_green:
        _await_leaving(observer, rollout.stable)
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


def _await_leaving(observer: RolloutObserver, stable: str) -> None:
    """Waits until the pods of this template that an aborted blue-green rollout left have gone.

    While they are there the controller takes the same template for one to go back to and makes it active unjudged
    (Argo Rollouts 1.9.1, rollout/replicaset.go:33-46, rollout/bluegreen.go:113-117)."""
    own = [
        one.template_hash
        for one in observer.picture.replica_sets.values()
        if one.template == observer.template and one.template_hash != stable and one.replicas
    ]
    if not own:
        return
    observer.show("waiting for the pods of the attempt before to go: with them Argo Rollouts would not judge it")

    def gone() -> bool:
        sets = observer.look().replica_sets
        return not any(sets[one].replicas for one in own if one in sets)

    if not wait_until(gone, seconds=_LEAVING_SECONDS, every=observer.patience.poll):
        raise SluiceError(
            "pods of the previous attempt are still running",
            remedy="`sluice rollback`, wait a minute, and deploy again",
        )


def skip_steps(observer: RolloutObserver, why: str) -> None:
    """Promotes without steps and analyses: there is nothing to compare with, or no visitor yet."""
    if not wait_until(lambda: observer.look().begun, seconds=observer.patience.settle, every=observer.patience.poll):
        raise SluiceError("the controller hasn't started the rollout", remedy=RUNNING)
    last = len(observer.picture.rollout.steps) if observer.picture.rollout else 0
    # An abort of before stands until the controller heeds this: whoever looks sooner takes it for the end.
    observer.ask_for(
        {"promoteFull": True}, lambda now: not now.get("abort") and (now.get("currentStepIndex") or 0) >= last
    )
    observer.show(why)


def remember(observer: RolloutObserver) -> None:
    """Notes what was promoted, and calls the hooks `promoted`. Where it cannot, the verdict stays: the next deployment
    notes it (`note_live`)."""
    rollout = observer.picture.rollout
    try:
        known = read_promotions(read(observer.client, observer.target.path))
        write_promotions(observer.client, observer.target.path, known.with_promoted(rollout.current if rollout else ""))
    except SluiceError as error:
        observer.show(f"the promotion was not noted: {error.message}")
    for tidy in hooks("promoted").values():
        tidy(observer.client, observer.target, observer.show)


def begin_again(observer: RolloutObserver) -> None:
    """Takes an abort back. SluiceError when the controller, whose own status tells, does not take notice."""
    observer.show("trying again")
    if not observer.ask_for({"abort": False}, lambda now: not now.get("abort") and now.get("phase") != "Degraded"):
        raise SluiceError("the Rollout is still marked as aborted", remedy=RUNNING)


def forget_deadlines(observer: RolloutObserver) -> None:
    """Takes the time at which pods of stopped releases went off their ReplicaSets.

    The controller leaves it there for good, and takes no later release back for its progress deadline while one has it
    (Argo Rollouts 1.9.1, rollout/sync.go:374, 575-587, 672). Until it has begun with the next template, the pods of the
    aborted one may still go in that way (rollout/replicaset.go:132-160): what it has left then is looked at."""
    before = observer.picture
    aborted = before.rollout.current if before.rollout and before.rollout.aborted else ""
    left = [one for one in before.replica_sets.values() if one.leaving]
    if not any(not one.replicas or one.template_hash == aborted for one in left) or not wait_until(
        lambda: observer.look().begun, seconds=observer.patience.settle, every=observer.patience.poll
    ):
        return
    now, observer.picture = observer.picture, before
    try:
        for one in now.replica_sets.values():
            if one.leaving and not one.replicas and now.rollout and one.template_hash != now.rollout.current:
                path = f"{observer.target.replica_sets}/{observer.target.name}-{one.template_hash}"
                patch(observer.client, path, {"metadata": {"annotations": {SCALE_DOWN_DEADLINE: None}}})
    except SluiceError as error:
        observer.show(f"a release that is never ready will not be taken back while nobody watches: {error.message}")
