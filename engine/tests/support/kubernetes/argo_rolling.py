"""A canary without steps, Services and traffic routing, which is a rolling update (Argo Rollouts 1.9.1).

Of it what engine/k8s/components/rolling uses: `maxSurge: 1` and `maxUnavailable: 0`.
"""

from __future__ import annotations

from typing import Any

from support.kubernetes.argo_analyses import Analyses
from support.kubernetes.argo_context import MANAGER
from support.kubernetes.argo_pods import MANAGED_BY
from support.kubernetes.argo_replicas import HASH, available, replicas_of, revision, scale

Object = dict[str, Any]
_SURGE = 1


class Rolling(Analyses):
    """What differs from a canary with steps."""

    def _roll(self) -> None:
        """rollout/canary.go:22-105."""
        if self.canary.get("maxSurge") != _SURGE or self.canary.get("maxUnavailable") != 0:
            raise NotImplementedError("only maxSurge: 1 with maxUnavailable: 0 is played")
        if not self._changed():
            self._let_go()
            self._collect_garbage()
            self.weights = None  # rollout/trafficrouting.go:168-172
            self._analyse()
            self._move_replicas()
        self._sync_status()

    def _let_go(self) -> None:
        """service/service.go:205-215, by rollout/controller.go:268: Services that the Rollout no longer names."""
        for one in self.store.all("Service"):
            if (one["metadata"].get("annotations") or {}).pop(MANAGED_BY, None):
                one["spec"]["selector"].pop(HASH, None)
                self.store.write(one, MANAGER)

    def _delays(self) -> bool:
        """rollout/replicaset.go:219-222."""
        return False

    def _move_replicas(self) -> bool:
        """rollout/canary.go:107-132 and 422-458."""
        if self.rollout["spec"].get("paused"):
            return False
        self._forget_deadlines()
        if self.stable is not None and self.stable is not self.new and self._scale(self.stable, self._counts()[1]):
            return True
        return self._scale(self._newest(), self._counts()[0]) or self._scale_others()

    def _newest(self) -> Object:
        assert self.new is not None
        return self.new

    def _scale_others(self) -> bool:
        """rollout/canary.go:178-260: every pod of another release goes, as soon as enough others are available."""
        room = sum(available(one) for one in self.all) - replicas_of(self.rollout)
        scaled = False
        for one in sorted((each for each in self.others if scale(each)), key=revision, reverse=True):
            wanted = available(one) if scale(one) != available(one) else scale(one)  # unhealthy ones first
            wanted -= min(max(room, 0), wanted)
            room -= available(one) - wanted
            scaled = self._scale(one, wanted) or scaled
        return scaled

    def _counts(self) -> tuple[int, int]:
        """Pods of the new release and of stable (utils/replicaset/canary.go:124-211, for a weight of 100 or, after an
        abort, of 0)."""
        new, pods = self._newest(), replicas_of(self.rollout)
        stable = self.stable if self.stable is not new else None
        back = self.rollout["status"].get("abort") and stable is not None
        wanted = {"new": 0 if back else pods, "stable": pods if back else 0}
        found = {"new": scale(new), "stable": scale(stable) if stable else 0}
        others = sum(scale(one) for one in self.others)
        most, room = pods + _SURGE, pods + _SURGE - sum(found.values()) - others
        for side in ("stable", "new"):
            more = max(min(wanted[side] - found[side], room), 0)
            found[side], room = found[side] + more, room - more
        if others:
            return found["new"], found["stable"]
        grows = wanted["new"] >= scale(new)
        down = _for_scale_down(new, ignore=not grows) + _for_scale_down(stable, ignore=grows) - pods
        if down <= 0:
            return found["new"], found["stable"]
        drained, kept = ("stable", "new") if grows else ("new", "stable")
        sets = {"new": new, "stable": stable}
        if (one := sets[drained]) is not None:
            if scale(one) > wanted[drained]:
                found[drained] = max(wanted[drained], scale(one) - down)
            found[drained], found[kept] = _within(one, sets[kept], found[drained], found[kept], most, pods)
        return found["new"], found["stable"]


def _for_scale_down(one: Object | None, *, ignore: bool) -> int:
    """utils/replicaset/canary.go:462-478."""
    if one is None:
        return 0
    return scale(one) if scale(one) < available(one) or ignore else available(one)


def _within(drained: Object, kept: Object | None, less: int, more: int, most: int, least: int) -> tuple[int, int]:
    """utils/replicaset/canary.go:302-338: within maxSurge and maxUnavailable."""
    if kept is None:
        return less, more
    more -= max(0, more + less - most)
    up = min(available(drained), less) + min(available(kept), more)
    more += min(max(0, available(kept) - more), max(0, least - up))
    return less - max(0, more + less - most), more
