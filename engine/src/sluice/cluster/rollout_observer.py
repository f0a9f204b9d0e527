"""Watches one Rollout, its analyses and its pods until it ends, and prints every change."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx

from sluice.cluster.kubectl import ClusterUnreachableError
from sluice.cluster.resource_watch import WatchedResource, WatchEvent, WatchTimeouts, follow
from sluice.cluster.rollout_changes import changes
from sluice.cluster.rollout_outcome import RolloutOutcome, outcome, waits_for_a_person, weights_are_back
from sluice.cluster.rollout_status import RolloutSnapshot, read_pod, read_rollout, read_run
from sluice.core.errors import SluiceError

ROLLOUTS, RUNS, PODS = "rollouts", "analysisruns", "pods"
ALL = {ROLLOUTS, RUNS, PODS}
KINDS = frozenset({"promoted", "stopped", "failed", "inconclusive"})
_HEAR_OUT = 1.0  # seconds of silence after a failure: what its pods say of it comes by another connection
_READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {RUNS: ("runs", read_run), PODS: ("pods", read_pod)}
Show = Callable[[str], None]


@dataclass(frozen=True)
class RolloutTarget:
    """The Rollout, and the labels of its pods as a selector (`a=b,c=d`)."""

    namespace: str
    name: str
    selector: str

    @property
    def path(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/rollouts/{self.name}"

    def sources(self) -> tuple[WatchedResource, ...]:
        custom = f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}"
        return (
            WatchedResource(ROLLOUTS, f"{custom}/rollouts", (("fieldSelector", f"metadata.name={self.name}"),)),
            WatchedResource(RUNS, f"{custom}/analysisruns"),
            WatchedResource(PODS, f"/api/v1/namespaces/{self.namespace}/pods", (("labelSelector", self.selector),)),
        )


def target_of(rollout: Mapping[str, Any]) -> RolloutTarget:
    labels = (rollout["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return RolloutTarget(rollout["metadata"]["namespace"], rollout["metadata"]["name"], selector)


class RolloutObserver:
    """`generation`: the oldest of the Rollout's specs that counts. `seconds`: the most time for all of it."""

    def __init__(
        self, client: httpx.Client, target: RolloutTarget, show: Show, patience: WatchTimeouts, *, generation: int = 0
    ):
        self.client, self.target, self.show, self.patience = client, target, show, patience
        self.generation = generation
        self.picture = RolloutSnapshot()
        self._listed: set[str] = set()
        self._lost_since: dict[str, float] = {}
        self._stuck_since: dict[str, float] = {}
        self._told = RolloutSnapshot()
        self._waiting = False

    def until_end(self, seconds: float, *, only: frozenset[str] = KINDS) -> RolloutOutcome:
        """The first outcome whose kind is in `only`.

        LostError when the API server stays silent for longer than `patience.lost`; SluiceError when it refuses the
        watch of the Rollout, when that is deleted, or after `seconds`."""
        news: queue.Queue[WatchEvent] = queue.Queue()
        stop = threading.Event()
        self._listed, self._lost_since = set(), {}
        threads = [
            threading.Thread(target=follow, args=(self.client, source, news.put, stop, self.patience), daemon=True)
            for source in self.target.sources()
        ]
        for thread in threads:
            thread.start()
        try:
            return self._observe(news, time.monotonic() + seconds, seconds, only)
        finally:
            stop.set()

    def _observe(
        self, news: queue.Queue[WatchEvent], end: float, seconds: float, only: frozenset[str]
    ) -> RolloutOutcome:
        settled_by: float | None = None
        heard = time.monotonic()
        while True:
            with suppress(queue.Empty):
                self._take(news.get(timeout=0.2))
                heard = time.monotonic()
            now = time.monotonic()
            self._require_contact(now)
            found = self._outcome(now) if self._listed >= ALL else None
            if found and found.kind not in only:
                found = None
            if found and found.kind == "stopped" and not weights_are_back(self.picture):
                settled_by = settled_by or now + self.patience.settle
                if now < settled_by:
                    continue
            if found and news.empty() and (found.kind != "failed" or now - heard >= _HEAR_OUT):
                return found
            if now > end:
                raise SluiceError(
                    f"{self.target.name}: no end after {seconds:.0f} s of watching",
                    remedy="the rollout goes on; run the same command again to watch it",
                )

    def _outcome(self, now: float) -> RolloutOutcome | None:
        found = outcome(self.picture, generation=self.generation)
        if found is None and self._lost_since.get(ROLLOUTS) is None and (stuck := self._stuck(now)):
            return RolloutOutcome("failed", stuck)
        return found

    def _stuck(self, now: float) -> tuple[str, ...]:
        """Pods of the new release that have not been able to start for longer than `patience.pull`."""
        rollout = self.picture.rollout
        # Before the controller has seen the new spec, `current` still names the pods of the old one.
        own = [
            pod
            for pod in self.picture.pods.values()
            if rollout
            and rollout.observed
            and rollout.generation >= self.generation
            and pod.stuck
            and pod.template_hash == rollout.current
        ]
        self._stuck_since = {pod.name: self._stuck_since.get(pod.name, now) for pod in own}
        return tuple(
            f"pod {pod.name}: {pod.problem}" for pod in own if now - self._stuck_since[pod.name] >= self.patience.pull
        )

    def _take(self, news: WatchEvent) -> None:
        if news.what == "lost":
            if news.source not in self._lost_since:
                self._lost_since[news.source] = time.monotonic()
                if len(self._lost_since) == 1:
                    self.show(f"connection lost: {news.text}; trying again")
        elif news.what == "back":
            self._lost_since.pop(news.source, None)
            if not self._lost_since:
                self.show("connected again")
        elif news.what == "refused":
            if news.source == ROLLOUTS:
                raise SluiceError(
                    news.text, remedy="engine/docs/reference/deployment.md lists the rights that the account needs"
                )
            self._listed.add(news.source)
            self._lost_since.pop(news.source, None)
            self.show(f"{news.source} are not shown: {news.text}")
            self._tell()
        else:
            self._update(news)

    def _update(self, news: WatchEvent) -> None:
        before = self.picture
        if news.source == ROLLOUTS:
            if news.what == "gone" or (news.what == "listed" and not news.objects):
                raise SluiceError(f"Rollout {self.target.name}: it is gone", remedy="deploy again")
            self.picture = replace(before, rollout=read_rollout(news.objects[0]))
        else:
            field, reader = _READERS[news.source]
            read = {str(one["metadata"]["name"]): one for one in news.objects}
            there = {} if news.what == "listed" else dict(getattr(before, field))
            for name, one in read.items():
                if news.what == "gone":
                    there.pop(name, None)
                else:
                    there[name] = reader(one)
            changed: dict[str, Any] = {field: there}
            self.picture = replace(before, **changed)
        self._listed.add(news.source)
        self._tell()

    def _tell(self) -> None:
        if not self._listed >= ALL:
            return  # a pod's role needs the Rollout
        for line in changes(self._told, self.picture):
            self.show(line)
        self._told = self.picture
        rollout = self.picture.rollout
        waiting = bool(rollout and waits_for_a_person(rollout))
        if waiting and not self._waiting:
            self.show("waits for a person: `kubectl argo rollouts promote` goes on, `sluice rollback` goes back")
        self._waiting = waiting

    def _require_contact(self, now: float) -> None:
        since = self._lost_since.get(ROLLOUTS)
        if since is not None and now - since > self.patience.lost:
            raise ClusterUnreachableError(
                f"the API server has not answered for {self.patience.lost:.0f} s",
                remedy="the rollout goes on; run the same command again to watch it",
            )
