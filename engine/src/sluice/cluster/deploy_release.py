"""`sluice deploy`: one release into one environment of a cluster, watched until it is promoted or stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx

from sluice.cluster.apply import apply
from sluice.cluster.job_logs import job_log
from sluice.cluster.kubectl import Cluster, Show, patch, read
from sluice.cluster.manifests import Manifest
from sluice.cluster.preparation_jobs import run_jobs
from sluice.cluster.pruning import prune
from sluice.cluster.release_overlay import rollout_of
from sluice.cluster.rollout_observer import RolloutObserver, WatchTimeouts, target_of
from sluice.cluster.rollout_outcome import RolloutOutcome
from sluice.cluster.rollout_status import RolloutStatus, read_rollout
from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until


@dataclass(frozen=True)
class DeploymentResult:
    """How it ended. `unchanged`: the release was live before and nothing moved. `logs`: of the Jobs that decided."""

    release: str
    kind: Literal["promoted", "unchanged", "stopped", "failed"]
    reasons: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

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
) -> DeploymentResult:
    """Applies, watches, and after a promotion prunes.

    An interrupt does not stop the rollout: another call with the same documents shows the rest of it.

    Args:
        cluster: Where to.
        documents: The rendered release, with one Rollout.
        show: Prints a line.
        seconds: The most time for the whole rollout.
        patience: How long a silent API server and pods that do not start are waited for.
        retry: Lets a release that was stopped before begin again.

    Raises:
        SluiceError: A manifest or a Job failed before the Rollout was touched, or the watch cannot go on.
    """
    documents = list(documents)
    wanted: Any = rollout_of(documents)
    before = next((read_rollout(one) for one in cluster.live([wanted])), None)
    release = str(wanted["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"])
    show(_begins(before, release))
    apply(cluster, documents, show)
    with cluster.client() as client:
        run_jobs(cluster, client, [one for one in documents if one["kind"] == "Job"], show)
        cluster.apply([wanted], force=True)
        target = target_of(wanted)
        now = read_rollout(read(client, target.path))
        same = before is not None and before.generation == now.generation
        show(_goes_on(now, same))
        if retry and now.observed and now.aborted:
            patch(client, f"{target.path}/status", {"status": {"abort": False}})
            show("trying again")
            # The controller answers with a status of its own; until then this one still says aborted.
            _await_retry(client, target.path, patience)
        observer = RolloutObserver(client, target, show, patience, generation=now.generation)
        found = observer.until_end(seconds)
        ended = _conclude(client, observer, found, seconds)
        kind = "unchanged" if ended.kind == "promoted" and same and _stood_still(before, now) else ended.kind
        if kind == "promoted":
            prune(client, target, show)
        return DeploymentResult(release, kind, ended.reasons, _logs(client, target.namespace, found))  # type: ignore[arg-type]


def end_of_rollout(cluster: Cluster, namespace: str, name: str, release: str, *, show: Show, seconds: float) -> str:
    """How a release ended that was applied before. One that is under way is watched.

    Args:
        cluster: Where.
        namespace: Of the Rollout.
        name: Of the Rollout.
        release: Its id.
        show: Prints a line.
        seconds: The most time for the watch.

    Returns:
        `promoted`, or why it is not live.

    Raises:
        SluiceError: The cluster does not answer, or there is no end in that time.
    """
    with cluster.client() as client:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
        found = read(client, path, fieldSelector=f"metadata.name={name}")["items"]
        if not found or (now := read_rollout(found[0])).release != release:
            return f"the cluster has {now.release or 'another release' if found else 'no Rollout'}"
        observer = RolloutObserver(client, target_of(found[0]), show, WatchTimeouts(), generation=now.generation)
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


def _await_retry(client: httpx.Client, path: str, patience: WatchTimeouts) -> None:
    def begun() -> bool:
        rollout = read_rollout(read(client, path))
        return not rollout.aborted and rollout.phase != "Degraded"

    if not wait_until(begun, seconds=patience.settle, every=0.2):
        raise SluiceError(
            "the Rollout still says that it is aborted", remedy="is the controller of Argo Rollouts running?"
        )


def _conclude(client: httpx.Client, observer: RolloutObserver, found: RolloutOutcome, seconds: float) -> RolloutOutcome:
    """What cannot go on is aborted, so that stable has all traffic and not most of it."""
    rollout = observer.picture.rollout
    if found.kind in ("promoted", "stopped") or rollout is None:
        return found
    if rollout.first or rollout.stable == rollout.current or rollout.invalid:
        return replace(found, kind="failed")  # there is nothing to go back to, or nothing has moved
    observer.show(f"{found.kind}: aborting, stable gets all traffic")
    try:
        patch(client, f"{observer.target.path}/status", {"status": {"abort": True}})
        ended = observer.until_end(min(seconds, 2 * observer.patience.settle), only=frozenset({"stopped", "promoted"}))
    except SluiceError as error:
        hint = "it still has its share of the traffic: `sluice rollback` takes it away"
        return RolloutOutcome(
            "failed", (*found.reasons, f"it could not be aborted: {error.message}; {hint}"), found.jobs
        )
    return replace(found, kind="stopped") if ended.kind == "stopped" else ended


def _logs(client: httpx.Client, namespace: str, found: RolloutOutcome) -> tuple[str, ...]:
    lines: list[str] = []
    for job in found.jobs:
        lines += [f"log of job {job}:", *(f"  {line}" for line in job_log(client, namespace, job))]
    return tuple(lines)
