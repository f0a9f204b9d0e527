"""Deploys one release into one environment of a cluster and watches it until it is promoted or stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx

from sluice.cluster.apply import apply, job_log, run_jobs
from sluice.cluster.gitops import await_applied
from sluice.cluster.kubectl import MANAGER, Cluster, Show, find, patch, read
from sluice.cluster.manifests import Manifest
from sluice.cluster.release_overlay import marked, rollout_of
from sluice.cluster.rollback import is_unjudged, owns_replicas, read_promotions, require_not_from_git, write_promotions
from sluice.cluster.rollout_observer import RUNNING, RolloutObserver, WatchTimeouts
from sluice.cluster.rollout_outcome import RolloutOutcome
from sluice.cluster.rollout_status import (
    ENDED,
    RELEASE_LABEL,
    SCALE_DOWN_DEADLINE,
    RolloutSnapshot,
    RolloutStatus,
    read_rollout,
    template_key,
)
from sluice.cluster.visitors import after_stop
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.processes import wait_until

# Longer than the `abortScaleDownDelaySeconds` of engine/k8s/components/blue-green.
_LEAVING_SECONDS = 150.0


@dataclass(frozen=True)
class DeploymentResult:
    """The result of a deployment. `logs` are of the Jobs that decided; `first`: nothing else was live."""

    release: str
    kind: Literal["promoted", "unchanged", "stopped", "failed"]
    reasons: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    first: bool = False

    @property
    def passed(self) -> bool:
        return self.kind in ("promoted", "unchanged")

    def markdown(self, environment: str) -> str:
        lines = [f"### {self.release} in {environment}: {self.kind}", "", *(f"- {reason}" for reason in self.reasons)]
        if self.logs:
            lines += ["", "```", *self.logs, "```"]
        return "\n".join(lines)


def deploy(
    cluster: Cluster,
    documents: Sequence[Manifest],
    *,
    show: Show,
    seconds: float,
    patience: WatchTimeouts,
    retry: bool = False,
    over_dead_stable: bool = False,
    watch: bool = False,
) -> DeploymentResult:
    """Apply a release (`watch`: Argo CD or Flux does), watch its rollout, and call the hooks `promoted`."""
    wanted = marked(rollout_of(documents))
    live = next(iter(cluster.live([wanted])), None)
    before = read_rollout(live) if live else RolloutStatus()
    if live and not watch:
        require_not_from_git(live, "run `sluice deploy --watch`")
    gate = _judge_of_first(live, wanted, documents, watch=watch)
    documents = [wanted if one["kind"] == "Rollout" else one for one in documents]
    release = str(wanted["spec"]["template"]["metadata"]["labels"][RELEASE_LABEL])
    _require_movable(before, retry=retry)
    show(_begins(before, release))
    with cluster.client() as client:
        observer = RolloutObserver(client, wanted, show, patience)
        target = observer.target
        ended = _prepare(observer, live, over_dead_stable=over_dead_stable)
        jobs = [one for one in documents if one["kind"] == "Job"]
        if watch:
            await_applied(observer, release, jobs, seconds)
        else:
            if before.blue_green:
                _await_leaving(observer, before.stable)
            apply(cluster, documents, show, later=gate.routes if gate else ())
            run_jobs(cluster, client, jobs, show)
        _note_live(observer, None if gate else live)
        if not watch:
            _hand_over_replicas(cluster, client, target.path, wanted)
            cluster.apply([wanted], force=True)
        now = read_rollout(read(client, target.path))
        same = before.generation == now.generation
        if not same or retry:
            observer.earlier = ended
        going = watch and now.current != now.stable and not now.aborted  # it may have come before we looked
        unjudged = bool(gate and live and is_unjudged(live) and before.stable and (retry or going or not same))
        _proceed(observer, now, same=same, retry=retry, unjudged=unjudged, over_dead_stable=over_dead_stable)
        found = observer.until_end(seconds)
        ended_as = _conclude(observer, found, seconds)
        if gate and ended_as.kind == "promoted":
            ended_as = found = gate.judge(cluster, observer, seconds)
            if watch and found.kind == "promoted":
                show("render it again without --first, and commit that: then its routes let visitors in")
        still = same and not gate and _stood_still(before, now)
        kind = "unchanged" if ended_as.kind == "promoted" and still else ended_as.kind
        reasons = ended_as.reasons
        if kind == "stopped":
            reasons += after_stop(cluster, observer, from_git=watch)
        if kind == "promoted":
            _remember(observer)
        logs = [
            line
            for job in found.jobs
            for line in (f"log of job {job}:", *(f"  {one}" for one in job_log(client, target.namespace, job)))
        ]
        # By its template: the status of now is that of before, until the controller has come to it.
        alone = before.stable == before.current and before.template == now.template
        nothing_before = gate or not before.stable or (alone and before.observed)
        return DeploymentResult(release, kind, reasons, tuple(logs), first=bool(nothing_before))  # type: ignore[arg-type]


def _judge_of_first(live: Manifest | None, wanted: Any, documents: Sequence[Manifest], *, watch: bool) -> Any:
    """Return the judge of a release before which none was live. With `watch`, its routes come from git, too."""
    if watch and live and not read_promotions(live).promoted:
        now, own = read_rollout(live), template_key(wanted["spec"]["template"])
        if now.template == own and now.current == now.stable and (now.observed or not now.stable):
            live = None  # only this release, and nobody has judged it
    gate: Any = next((judged(live, wanted, documents) for judged in hooks("first_release").values()), None)
    rest = [one for one in documents if not gate or one not in gate.routes]
    return replace(gate, documents=rest) if watch and gate else gate


def _proceed(
    observer: RolloutObserver, now: RolloutStatus, *, same: bool, retry: bool, unjudged: bool, over_dead_stable: bool
) -> None:
    """Let the controller go on, without steps where there is nothing to compare."""
    observer.show(_goes_on(now, same))
    if not same:
        _forget_deadlines(observer)
    if retry and now.observed and now.aborted:  # the controller's own status tells that it takes notice
        observer.show("trying again")
        if not observer.ask_for({"abort": False}, lambda now: not now.get("abort") and now.get("phase") != "Degraded"):
            raise SluiceError("the Rollout is still marked as aborted", remedy=RUNNING)
    if unjudged:
        _skip_steps(observer, "no visitor is here yet: the steps of a canary are left out")
    elif over_dead_stable:
        _skip_steps(observer, "stable has no pod that answers: this release is promoted without being judged")


def _require_movable(before: RolloutStatus, *, retry: bool) -> None:
    """Raise if a deployment would hang, or be promoted without being judged."""
    if before.paused:
        patched = f'kubectl patch rollout {before.name} --type merge --patch \'{{"spec":{{"paused":false}}}}\''
        raise SluiceError(f"{before.name}: the Rollout was paused by hand", remedy=f"resume it: {patched}")
    if retry and before.blue_green:
        raise SluiceError(
            "--retry: Argo Rollouts begins a blue-green rollout again unjudged, or judges pods that are not up",
            remedy="`sluice rollback`, then deploy it again",
        )


def end_of_rollout(cluster: Cluster, namespace: str, name: str, release: str, *, show: Show, seconds: float) -> str:
    """Return how a release ended that was applied before; watch it if it is under way."""
    with cluster.client() as client:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
        found = read(client, path, fieldSelector=f"metadata.name={name}")["items"]
        if not found or (now := read_rollout(found[0])).release != release:
            return f"the cluster has {now.release or 'another release' if found else 'no Rollout'}"
        if is_unjudged(found[0]):
            return f"{release} is the first release here and was not judged: deploy it again"
        ended = RolloutObserver(client, found[0], show, WatchTimeouts()).until_end(seconds)
        return ended.kind if ended.kind == "promoted" else "; ".join((ended.kind, *ended.reasons))


def _begins(before: RolloutStatus, release: str) -> str:
    if not before.name:
        return f"first deploy of {release}: nothing was live before, so Argo Rollouts runs no canary steps"
    if before.release == release:
        return f"{release} was applied before"
    if before.current != before.stable:
        return f"{release} over {before.release or 'a release without a name'}, which did not go live"
    return f"{release} after {before.release or 'a release without a name'}"


def _goes_on(now: RolloutStatus, same: bool) -> str:
    if not same:
        return f"Rollout {now.name}: generation {now.generation}"
    if now.aborted:
        return f"Rollout {now.name}: unchanged; this release was stopped before, and --retry begins it again"
    if _stood_still(now, now):
        return f"Rollout {now.name}: unchanged"
    return f"Rollout {now.name}: unchanged and under way; watching the rest"


def _stood_still(before: RolloutStatus, now: RolloutStatus) -> bool:
    return before.observed and now.phase == "Healthy" and now.stable == now.current


def _conclude(observer: RolloutObserver, found: RolloutOutcome, seconds: float) -> RolloutOutcome:
    """Abort a rollout that can't go on, so that stable gets all traffic."""
    rollout = observer.picture.rollout
    if found.kind in ("promoted", "stopped"):
        return found
    if found.kind == "replaced" or rollout.first or rollout.stable == rollout.current or rollout.invalid:
        return replace(found, kind="failed")  # not ours any more, nothing to go back to, or nothing has moved
    observer.show(f"{found.kind}: aborting, stable gets all traffic")
    try:
        observer.abort()
        ended = observer.until_end(min(seconds, 2 * observer.patience.settle), only=frozenset({"stopped", "promoted"}))
    except SluiceError as error:
        hint = "it still has its share of the traffic: `sluice rollback` takes it away"
        reasons = (*found.reasons, f"it could not be aborted: {error.message}; {hint}")
        return RolloutOutcome("failed", reasons, found.jobs)
    return replace(found, kind="stopped") if ended.kind == "stopped" else ended


def _prepare(observer: RolloutObserver, live: Manifest | None, *, over_dead_stable: bool) -> frozenset[str]:
    """Return the runs that have ended. Raises if stable answers and is to be replaced."""
    picture = observer.look() if live else observer.picture
    stable = picture.replica_sets.get(picture.rollout.stable)
    if over_dead_stable and stable is not None and stable.available:
        up = f"--over-dead-stable: {stable.available} pods of stable are available"
        raise SluiceError(up, remedy="deploy without it")
    return frozenset(run.name for run in picture.runs.values() if run.phase in ENDED)


def _note_live(observer: RolloutObserver, live: Manifest | None) -> None:
    """Note a live release whose deployment wasn't watched to its end."""
    rollout = observer.picture.rollout
    if live is None or is_unjudged(live):
        return
    known = read_promotions(live)
    if rollout.phase != "Healthy" or rollout.stable != rollout.current or not observer.picture.begun:
        return
    if known.promoted[:1] != (rollout.stable,):
        write_promotions(observer.client, observer.target.path, known.with_promoted(rollout.stable))


def _hand_over_replicas(cluster: Cluster, client: httpx.Client, path: str, wanted: Manifest) -> None:
    """Keep the number of pods when an autoscaler takes over.

    The API server removes a number that nobody owns, and the controller makes it one pod (1.9.1,
    rollout/controller.go:445)."""
    live = find(client, path)
    if live and "replicas" not in wanted["spec"] and owns_replicas(live["metadata"]):
        about = {key: live["metadata"][key] for key in ("name", "namespace")}
        kept = {**wanted, "metadata": about, "spec": {"replicas": live["spec"]["replicas"]}}
        cluster.apply([kept], force=True, manager=f"{MANAGER}-autoscaling")


def _await_leaving(observer: RolloutObserver, stable: str) -> None:
    """Wait until the pods that an aborted blue-green rollout left have gone.

    While they are there, the controller makes the same template active unjudged (1.9.1,
    rollout/bluegreen.go:113-117)."""

    def left(picture: RolloutSnapshot) -> bool:
        own = [one for one in picture.replica_sets.values() if one.template == observer.template and one.replicas]
        return any(one.template_hash != stable for one in own)

    if not left(observer.picture):
        return
    observer.show("waiting for the pods of the attempt before to go: with them Argo Rollouts would not judge it")
    if not wait_until(lambda: not left(observer.look()), seconds=_LEAVING_SECONDS, every=observer.patience.poll):
        raise SluiceError(
            "pods of the previous attempt are still running",
            remedy="`sluice rollback`, wait a minute, and deploy again",
        )


def _await_begin(observer: RolloutObserver) -> bool:
    return wait_until(lambda: observer.look().begun, seconds=observer.patience.settle, every=observer.patience.poll)


def _skip_steps(observer: RolloutObserver, why: str) -> None:
    """Promote without steps and analyses."""
    if not _await_begin(observer):
        raise SluiceError("the controller hasn't started the rollout", remedy=RUNNING)
    rollout = observer.picture.rollout

    def heeded(now: Mapping[str, Any]) -> bool:
        if rollout.blue_green:  # it has no steps: the new pods become the active ones
            return not now.get("promoteFull") and now.get("stableRS") == rollout.current
        # An earlier abort stays in the status until the controller acts on this, so wait for it to clear.
        return not now.get("abort") and (now.get("currentStepIndex") or 0) >= len(rollout.steps)

    observer.ask_for({"promoteFull": True}, heeded)
    observer.show(why)


def _remember(observer: RolloutObserver) -> None:
    """Note the promotion and call the hooks `promoted`. If that fails, the next deployment notes it."""
    try:
        known = read_promotions(read(observer.client, observer.target.path))
        now = known.with_promoted(observer.picture.rollout.current)
        write_promotions(observer.client, observer.target.path, now)
    except SluiceError as error:
        observer.show(f"the promotion was not noted: {error.message}")
    for tidy in hooks("promoted").values():
        tidy(observer.client, observer.target, observer.show)


def _forget_deadlines(observer: RolloutObserver) -> None:
    """Remove the scale-down deadlines that pods of stopped releases leave on their ReplicaSets.

    While one is there, the controller takes no later release back at its progress deadline (1.9.1,
    rollout/sync.go:374, 575-587, 672)."""
    before = observer.picture
    if not any(one.leaving for one in before.replica_sets.values()) or not _await_begin(observer):
        return
    now, observer.picture = observer.picture, before
    try:
        for one in now.replica_sets.values():
            if one.leaving and not one.replicas and one.template_hash != now.rollout.current:
                path = f"{observer.target.replica_sets}/{observer.target.name}-{one.template_hash}"
                patch(observer.client, path, {"metadata": {"annotations": {SCALE_DOWN_DEADLINE: None}}})
    except SluiceError as error:
        observer.show(f"a release that is never ready will not be taken back while nobody watches: {error.message}")
