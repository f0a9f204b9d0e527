"""Watches one Rollout, its analyses and its pods until it ends, and prints every change.

It looks once a second. A step of a canary takes longer than that, and a look needs nothing of the one before: a lost
connection is taken up by the next look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from sluice.cluster.kubectl import ClusterUnreachableError, Show, read
from sluice.cluster.rollout_changes import changes
from sluice.cluster.rollout_outcome import RolloutOutcome, outcome, waits_for_a_person, weights_are_back
from sluice.cluster.rollout_status import RolloutSnapshot, read_pod, read_rollout, read_run
from sluice.core.errors import SluiceError

KINDS = frozenset({"promoted", "stopped", "failed", "inconclusive"})


@dataclass(frozen=True)
class WatchTimeouts:
    """Seconds. `lost`: how long without the API server until we give up. `pull`: how long a pod may fail to start.
    `settle`: how long weights may take to be back after an abort. `poll`: between two looks."""

    lost: float = 120.0
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
    def custom(self) -> str:
        """Where the kinds of Argo Rollouts are."""
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}"


def target_of(rollout: Mapping[str, Any]) -> RolloutTarget:
    labels = (rollout["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return RolloutTarget(rollout["metadata"]["namespace"], rollout["metadata"]["name"], selector)


class RolloutObserver:
    """`generation`: the oldest of the Rollout's specs that counts."""

    def __init__(
        self, client: httpx.Client, target: RolloutTarget, show: Show, patience: WatchTimeouts, *, generation: int = 0
    ):
        self.client, self.target, self.show, self.patience = client, target, show, patience
        self.generation = generation
        self.picture = RolloutSnapshot()
        self._refused: set[str] = set()
        self._lost_since: float | None = None
        self._stuck_since: dict[str, float] = {}
        self._waiting = False

    def until_end(self, seconds: float, *, only: frozenset[str] = KINDS) -> RolloutOutcome:
        """The first outcome of a kind that is asked for.

        Args:
            seconds: The most time for it.
            only: These kinds; others are passed over.

        Raises:
            ClusterUnreachableError: The API server stayed silent for longer than `patience.lost`.
            SluiceError: It does not show the Rollout, the Rollout is gone, or the time is over.
        """
        end = time.monotonic() + seconds
        failed, settled_by = False, 0.0
        while True:
            now = time.monotonic()
            found = self._outcome(now) if self._look(now) else None
            if found and found.kind in only:
                settled_by = settled_by or now + self.patience.settle
                unsettled = found.kind == "stopped" and not weights_are_back(self.picture) and now < settled_by
                # What the pods of a failure say may be there a moment after it: it must be seen twice.
                if not unsettled and (found.kind != "failed" or failed):
                    return found
                failed = found.kind == "failed"
            if now > end:
                raise SluiceError(
                    f"{self.target.name}: no end after {seconds:.0f} s of watching",
                    remedy="the rollout goes on; run the same command again to watch it",
                )
            time.sleep(self.patience.poll)

    def _look(self, now: float) -> bool:
        """Takes a picture and prints what has changed; False while the API server does not answer."""
        try:
            picture = self._picture()
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
        before, self.picture = self.picture, picture
        for line in changes(before, picture):
            self.show(line)
        waiting = bool(picture.rollout and waits_for_a_person(picture.rollout))
        if waiting and not self._waiting:
            self.show("waits for a person: `kubectl argo rollouts promote` goes on, `sluice rollback` goes back")
        self._waiting = waiting
        return True

    def _picture(self) -> RolloutSnapshot:
        target = self.target
        rollouts = read(self.client, f"{target.custom}/rollouts", fieldSelector=f"metadata.name={target.name}")["items"]
        if not rollouts:
            raise SluiceError(f"Rollout {target.name}: it is gone", remedy="deploy again")
        runs = self._listed("analysisruns", f"{target.custom}/analysisruns")
        pods = self._listed("pods", f"/api/v1/namespaces/{target.namespace}/pods", labelSelector=target.selector)
        return RolloutSnapshot(
            read_rollout(rollouts[0]),
            {run.name: run for run in map(read_run, runs)},
            {pod.name: pod for pod in map(read_pod, pods)},
        )

    def _listed(self, what: str, path: str, **query: str) -> list[Any]:
        """Nothing of what may not be listed, which is said once."""
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
        found = outcome(self.picture, generation=self.generation)
        return found or (RolloutOutcome("failed", stuck) if (stuck := self._stuck(now)) else None)

    def _stuck(self, now: float) -> tuple[str, ...]:
        """Pods of the new release that have not been able to start for longer than `patience.pull`."""
        rollout = self.picture.rollout
        # Before the controller has seen the new spec, `current` still names the pods of the old one.
        if rollout is None or not rollout.observed or rollout.generation < self.generation:
            return ()
        own = [pod for pod in self.picture.pods.values() if pod.stuck and pod.template_hash == rollout.current]
        self._stuck_since = {pod.name: self._stuck_since.get(pod.name, now) for pod in own}
        return tuple(
            f"pod {pod.name}: {pod.problem}" for pod in own if now - self._stuck_since[pod.name] >= self.patience.pull
        )
