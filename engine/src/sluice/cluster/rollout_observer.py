"""Watches one Rollout, its analyses and its pods until it ends, and prints every change.

It looks once a second, and a look needs nothing of the one before, so a lost connection needs no resuming.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from sluice.cluster.kubectl import ClusterUnreachableError, Show, patch, read
from sluice.cluster.rollout_outcome import RolloutOutcome, changes, outcome, waits_for_a_person
from sluice.cluster.rollout_status import (
    RolloutSnapshot,
    read_pod,
    read_replica_set,
    read_rollout,
    read_run,
    template_key,
)
from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until

KINDS = frozenset({"promoted", "stopped", "failed", "inconclusive", "replaced"})
RUNNING = "is the controller of Argo Rollouts running?"
_TOUCHED, _TOUCH_SECONDS = "sluice/touched", 2.0
# Warnings of the controller that a snapshot has, too (1.9.1, rollout/sync.go:234,615,688, rollout/analysis.go:205).
_SEEN_ANYHOW = re.compile("RolloutAborted|ReplicaSetCreateError|AnalysisRun|Experiment")
_REMEDIES = {"TrafficRoutingError": "`sluice doctor cluster` checks its flags and what traffic goes by"}


@dataclass(frozen=True)
class WatchTimeouts:
    """Seconds: without the API server, for a pod to start, to settle weights or an invalid Rollout, between looks."""

    lost: float = 600.0
    pull: float = 120.0
    settle: float = 30.0
    poll: float = 1.0


@dataclass(frozen=True)
class RolloutTarget:
    """The Rollout, and the labels of its pods as a selector (`a=b,c=d`)."""

    namespace: str
    name: str
    selector: str

    @property
    def path(self) -> str:
        return f"{self.custom}/rollouts/{self.name}"

    @property
    def replica_sets(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"

    @property
    def custom(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}"


def target_of(rollout: Mapping[str, Any]) -> RolloutTarget:
    labels = (rollout["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return RolloutTarget(rollout["metadata"]["namespace"], rollout["metadata"]["name"], selector)


class RolloutObserver:
    """Observes a Rollout until its pod template is live or not; `earlier` names runs that ended before."""

    def __init__(self, client: httpx.Client, rollout: Mapping[str, Any], show: Show, patience: WatchTimeouts) -> None:
        self.client, self.target, self.show, self.patience = client, target_of(rollout), show, patience
        self.template, self.earlier = template_key(rollout["spec"]["template"]), frozenset[str]()
        # What `until_end` takes for an end.
        self.ends_by: Callable[[RolloutSnapshot], RolloutOutcome | None] = partial(outcome, template=self.template)
        self.picture = RolloutSnapshot()
        self._refused: set[str] = set()
        self._lost_since: float | None = None
        self._since: dict[str, float] = {}  # when a problem was first seen
        self._warned: dict[str, int] | None = None  # how often the controller warned, by event
        self._told: set[str] = set()
        self._waiting = False

    def until_end(self, seconds: float, *, only: frozenset[str] = KINDS) -> RolloutOutcome:
        """Wait for the first outcome of one of these kinds."""
        end = time.monotonic() + seconds
        failed, settled_by = False, 0.0
        while True:
            now = time.monotonic()
            found = self._outcome(now) if self._look(now) else None
            if found and found.kind in only:
                settled_by = settled_by or now + self.patience.settle
                unsettled = found.kind == "stopped" and self.picture.rollout.weight and now < settled_by
                # What the pods of a failure say may be there a moment after it: it must be seen twice.
                if not unsettled and (found.kind != "failed" or failed):
                    return found
                failed = found.kind == "failed"
            if now > end:
                raise SluiceError(
                    f"{self.target.name}: not finished after {seconds:.0f} s; {self._state()}",
                    remedy="the rollout goes on; run the same command again to watch it",
                )
            time.sleep(self.patience.poll)

    def ask_for(self, wanted: Mapping[str, bool], heeded: Callable[[Mapping[str, Any]], bool]) -> bool:
        """Patch the status; False if the controller doesn't heed it within `patience.settle`.

        A patch that comes while the controller writes is overwritten in its cache (1.9.1,
        rollout/controller.go:464-499), and the same patch again is no event: touching the Rollout is."""
        patch(self.client, f"{self.target.path}/status", {"status": wanted})
        again = time.monotonic() + _TOUCH_SECONDS

        def done() -> bool:
            nonlocal again
            if heeded(read(self.client, self.target.path).get("status") or {}):
                return True
            if (now := time.monotonic()) >= again:
                patch(self.client, self.target.path, {"metadata": {"annotations": {_TOUCHED: str(time.time())}}})
                again = now + _TOUCH_SECONDS
            return False

        return wait_until(done, seconds=self.patience.settle, every=min(self.patience.poll, 0.2))

    def abort(self) -> None:
        if not self.ask_for({"abort": True}, lambda now: bool(now.get("abort") and now.get("abortedAt"))):
            raise SluiceError("the controller hasn't aborted the rollout", remedy=RUNNING)

    def look(self) -> RolloutSnapshot:
        """Take a snapshot without printing."""
        target = self.target
        rollouts = read(self.client, f"{target.custom}/rollouts", fieldSelector=f"metadata.name={target.name}")["items"]
        if not rollouts:
            raise SluiceError(f"Rollout {target.name}: it is gone", remedy="deploy again")
        sets = read(self.client, target.replica_sets, labelSelector=target.selector)["items"]
        runs = self._listed("analysisruns", f"{target.custom}/analysisruns")
        pods = self._listed("pods", f"/api/v1/namespaces/{target.namespace}/pods", labelSelector=target.selector)
        self.picture = RolloutSnapshot(
            read_rollout(rollouts[0]),
            {run.name: run for run in map(read_run, runs)},
            {pod.name: pod for pod in map(read_pod, pods)},
            {one.template_hash: one for one in map(read_replica_set, sets)},
            self.earlier,
        )
        return self.picture

    def _state(self) -> str:
        if not self.picture.begun:
            return "the controller has not begun with this release"
        rollout = self.picture.rollout
        at, steps = rollout.step, rollout.steps
        step = f", step {at + 1} of {len(steps)}" if at is not None and at < len(steps) else ""
        return f"it is {rollout.phase}{step}" + (f": {rollout.message}" if rollout.message else "")

    def _look(self, now: float) -> bool:
        """Take a snapshot and print changes; False while the API server doesn't answer."""
        before = self.picture
        try:
            self.look()
        except ClusterUnreachableError as error:
            if self._lost_since is None:
                self._lost_since = now
                self.show(f"connection lost: {error.message}; trying again")
            if now - self._lost_since > self.patience.lost:
                raise ClusterUnreachableError(
                    f"the API server has not answered for {self.patience.lost:.0f} s",
                    remedy="the rollout goes on; run the same command again to watch it",
                ) from None
            return False
        if self._lost_since is not None:
            self._lost_since = None
            self.show("connected again")
        for line in (*changes(before, self.picture), *self._warnings()):
            self.show(line)
        waiting = waits_for_a_person(self.picture.rollout)
        if waiting and not self._waiting:
            name, cleared = f"{self.target.name} -n {self.target.namespace}", '{"status":{"pauseConditions":null}}'
            by_hand = f"kubectl patch rollout {name} --subresource status --type merge --patch '{cleared}'"
            self.show(f"waits for a person: `kubectl argo rollouts promote {name}` or `{by_hand}` goes on")
            self.show("`sluice rollback` goes back")
        self._waiting = waiting
        return True

    def _warnings(self) -> list[str]:
        """Return what the controller has warned of since the first look."""
        fields = f"involvedObject.kind=Rollout,involvedObject.name={self.target.name},type=Warning"
        events = self._listed("events", f"/api/v1/namespaces/{self.target.namespace}/events", fieldSelector=fields)
        before, self._warned = self._warned, {one["metadata"]["uid"]: one.get("count") or 1 for one in events}
        lines = []
        for one in events:
            reason, uid = one["reason"], one["metadata"]["uid"]
            known = before is None or self._warned[uid] == before.get(uid)
            if not known and uid not in self._told and not _SEEN_ANYHOW.match(reason):
                self._told.add(uid)
                lines += [f"{reason}: {one['message']}", *filter(None, [_REMEDIES.get(reason)])]
        return lines

    def _listed(self, what: str, path: str, **query: str) -> list[Any]:
        """List objects; none if listing them is forbidden, which is said once."""
        if what in self._refused:
            return []
        try:
            return list(read(self.client, path, **query)["items"])
        except ClusterUnreachableError:
            raise
        except SluiceError as error:
            self._refused.add(what)
            self.show(f"{what} are not shown: {error.message}")
            return []

    def _outcome(self, now: float) -> RolloutOutcome | None:
        found = self.ends_by(self.picture)
        rollout = self.picture.rollout
        problems = self._problems()
        if rollout.observed and rollout.invalid:
            problems["invalid"] = (rollout.invalid, self.patience.settle)
        self._since = {name: self._since.get(name, now) for name in problems}
        late = {name: text for name, (text, most) in problems.items() if now - self._since[name] >= most}
        if found is not None and found.kind == "failed" and "invalid" in problems and "invalid" not in late:
            return None
        return found or (RolloutOutcome("failed", tuple(late.values())) if late else None)

    def _problems(self) -> dict[str, tuple[str, float]]:
        """Return what keeps pods of the new release from starting, by name, and how long it may."""
        rollout = self.picture.rollout
        if not self.picture.begun:
            return {}
        found = {
            pod.name: (f"pod {pod.name}: {pod.problem}", self.patience.pull)
            for pod in self.picture.pods.values()
            if pod.stuck and pod.template_hash == rollout.current
        }
        if rollout.refused:
            found["refused"] = (rollout.refused, self.patience.pull)
        return found
