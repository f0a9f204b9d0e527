"""`sluice deploy`: one release into one environment of a cluster, watched until it is promoted or stopped."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx

from sluice.cluster import deployment_steps as steps
from sluice.cluster.apply import apply, job_log, run_jobs
from sluice.cluster.kubectl import Cluster, Show, read
from sluice.cluster.manifests import Manifest
from sluice.cluster.release_overlay import rollout_of
from sluice.cluster.rollback import is_unjudged
from sluice.cluster.rollout_observer import RolloutObserver, WatchTimeouts, target_of
from sluice.cluster.rollout_outcome import RolloutOutcome
from sluice.cluster.rollout_status import RELEASE_LABEL, TEMPLATE_ANNOTATION, RolloutStatus, read_rollout, template_key
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks


@dataclass(frozen=True)
class DeploymentResult:
    """How it ended. `unchanged`: the release was live before and nothing moved. `logs`: of the Jobs that decided.
    `first`: nothing else was live."""

    release: str
    kind: Literal["promoted", "unchanged", "stopped", "failed"]
    reasons: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    first: bool = False

    @property
    def passed(self) -> bool:
        return self.kind in ("promoted", "unchanged")

    def markdown(self, environment: str) -> str:
        """For the summary of a job."""
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
) -> DeploymentResult:
    """Applies, watches, and after a promotion calls the hooks `promoted`.

    An interrupt does not stop the rollout: another call with the same documents shows the rest of it."""
    wanted = _marked(rollout_of(documents))
    live = next(iter(cluster.live([wanted])), None)
    before = read_rollout(live) if live else None
    gate = next((judged(live, wanted, documents) for judged in hooks("first_release").values()), None)
    documents = [wanted if one["kind"] == "Rollout" else one for one in documents]
    release = str(wanted["spec"]["template"]["metadata"]["labels"][RELEASE_LABEL])
    _require_movable(before, retry=retry)
    show(_begins(before, release))
    with cluster.client() as client:
        target = target_of(wanted)
        observer = RolloutObserver(client, target, show, patience, template=template_key(wanted["spec"]["template"]))
        ended = steps.prepare(observer, live, over_dead_stable=over_dead_stable)
        apply(cluster, documents, show, later=gate.routes if gate else ())
        run_jobs(cluster, client, [one for one in documents if one["kind"] == "Job"], show)
        steps.note_live(observer, live)
        steps.hand_over_replicas(cluster, client, target.path, wanted)
        cluster.apply([wanted], force=True)
        now = read_rollout(read(client, target.path))
        same = before is not None and before.generation == now.generation
        if not same or retry:
            observer.earlier = ended
        unjudged = bool(gate and before and before.stable)
        _proceed(observer, now, same=same, retry=retry, unjudged=unjudged, over_dead_stable=over_dead_stable)
        found = observer.until_end(seconds)
        ended_as = _conclude(observer, found, seconds)
        if gate and ended_as.kind == "promoted":
            ended_as = found = gate.judge(cluster, observer, seconds)
        still = same and not gate and _stood_still(before, now)
        kind = "unchanged" if ended_as.kind == "promoted" and still else ended_as.kind
        if kind == "promoted":
            steps.remember(observer)
        logs = _logs(client, target.namespace, found)
        # By its template: the status of now is that of before, until the controller has come to it.
        alone = before is not None and before.stable == before.current and before.template == now.template
        nothing_before = gate or before is None or not before.stable or (alone and before.observed)
        return DeploymentResult(release, kind, ended_as.reasons, logs, first=bool(nothing_before))  # type: ignore[arg-type]


def _proceed(
    observer: RolloutObserver, now: RolloutStatus, *, same: bool, retry: bool, unjudged: bool, over_dead_stable: bool
) -> None:
    """Lets the controller go on with what was applied: again where it had stopped, without steps where nobody gains by
    them."""
    observer.show(_goes_on(now, same))
    if not same:
        steps.forget_deadlines(observer)
    if retry and now.observed and now.aborted:
        steps.begin_again(observer)
    if unjudged and (retry or not same):
        steps.skip_steps(observer, "no visitor is here yet: the steps of a canary are left out")
    elif over_dead_stable:
        steps.skip_steps(observer, "stable has no pod that answers: this release is promoted without being judged")


def _marked(rollout: Any) -> Any:
    """The Rollout with a digest of its pod template on that template."""
    marked = copy.deepcopy(dict(rollout))
    metadata = marked["spec"]["template"].setdefault("metadata", {})
    metadata.setdefault("annotations", {})[TEMPLATE_ANNOTATION] = digest_of(marked["spec"]["template"])[:16]
    return marked


def _require_movable(before: RolloutStatus | None, *, retry: bool) -> None:
    """SluiceError when a deployment would hang, or be promoted without being judged."""
    if before is not None and before.paused:
        patched = f'kubectl patch rollout {before.name} --type merge --patch \'{{"spec":{{"paused":false}}}}\''
        raise SluiceError(f"{before.name}: the Rollout was paused by hand", remedy=f"resume it: {patched}")
    if retry and before is not None and before.blue_green:
        raise SluiceError(
            "--retry: Argo Rollouts begins a blue-green rollout again unjudged, or judges pods that are not up",
            remedy="`sluice rollback`, then deploy it again",
        )


def end_of_rollout(cluster: Cluster, namespace: str, name: str, release: str, *, show: Show, seconds: float) -> str:
    """How a release ended that was applied before. One that is under way is watched."""
    with cluster.client() as client:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
        found = read(client, path, fieldSelector=f"metadata.name={name}")["items"]
        if not found or (now := read_rollout(found[0])).release != release:
            return f"the cluster has {now.release or 'another release' if found else 'no Rollout'}"
        if is_unjudged(found[0]):
            return f"{release} is the first release here and was not judged: deploy it again"
        key = template_key(found[0]["spec"]["template"])
        observer = RolloutObserver(client, target_of(found[0]), show, WatchTimeouts(), template=key)
        ended = observer.until_end(seconds)
        return ended.kind if ended.kind == "promoted" else "; ".join((ended.kind, *ended.reasons))


def _begins(before: RolloutStatus | None, release: str) -> str:
    if before is None:
        return f"first deploy of {release}: nothing was live before, so Argo Rollouts runs no canary steps"
    if before.release == release:
        return f"{release} was applied before"
    return f"{release} after {before.release or 'a release without a name'}"


def _goes_on(now: RolloutStatus, same: bool) -> str:
    if not same:
        return f"Rollout {now.name}: generation {now.generation}"
    if now.aborted:
        return f"Rollout {now.name}: unchanged; this release was stopped before, and --retry begins it again"
    if _stood_still(now, now):
        return f"Rollout {now.name}: unchanged"
    return f"Rollout {now.name}: unchanged and under way; watching the rest"


def _stood_still(before: RolloutStatus | None, now: RolloutStatus) -> bool:
    """It was promoted when we came."""
    return before is not None and before.observed and now.phase == "Healthy" and now.stable == now.current


def _conclude(observer: RolloutObserver, found: RolloutOutcome, seconds: float) -> RolloutOutcome:
    """What cannot go on is aborted, so that stable has all traffic and not most of it."""
    rollout = observer.picture.rollout
    if found.kind in ("promoted", "stopped") or rollout is None:
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


def _logs(client: httpx.Client, namespace: str, found: RolloutOutcome) -> tuple[str, ...]:
    lines: list[str] = []
    for job in found.jobs:
        lines += [f"log of job {job}:", *(f"  {line}" for line in job_log(client, namespace, job))]
    return tuple(lines)
