"""Services, traffic and pods of a canary, as Argo Rollouts 1.9.1 moves them; each step names file and line there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from support.kubernetes import argo_replicas as replicas
from support.kubernetes.argo_context import MANAGER, Context, Store, stamp
from support.kubernetes.argo_replicas import HASH, available, deadline, hash_of, revision, scale

Object = dict[str, Any]
MANAGED_BY = "argo-rollouts.argoproj.io/managed-by-rollouts"
_DELAY = timedelta(seconds=30)  # utils/defaults/defaults.go:30,32


class Pods(Context):
    """One thing is scaled in a reconcile; the next one does the next."""

    def _collect_garbage(self) -> None:
        """rollout/sync.go:429-480: the oldest of those that are neither new nor stable, and their analyses."""
        limit = int(self.rollout["spec"].get("revisionHistoryLimit", 10))
        for one in self.others[: max(len(self.others) - limit, 0)]:
            if not scale(one) and not replicas.created(one):
                self.store.delete("ReplicaSet", one["metadata"]["name"])
                for run in self._other_runs():
                    if run["metadata"]["labels"].get(HASH) == hash_of(one):
                        self.store.delete("AnalysisRun", run["metadata"]["name"])

    def _move_services(self) -> None:
        """rollout/service.go:255-288."""
        self._point(self.canary["stableService"], self.stable)
        self._point(self.canary["canaryService"], self.new)

    def _point(self, name: str, to: Object | None, *, check: bool = True) -> None:
        """rollout/service.go:295-336: at first only to pods that are all available, later to one that is."""
        service = self.store.find("Service", name)
        if to is None or service is None or service["spec"]["selector"].get(HASH) == hash_of(to):
            return
        adopted = MANAGED_BY in (service["metadata"].get("annotations") or {})
        if check and (not available(to) or (not adopted and available(to) < scale(to))):
            return
        service["metadata"].setdefault("annotations", {})[MANAGED_BY] = self.rollout["metadata"]["name"]
        service["spec"]["selector"][HASH] = hash_of(to)
        self.store.write(service, MANAGER)

    def _route_traffic(self) -> None:
        """rollout/trafficrouting.go:161-355."""
        if not self._promoted() and self._aborted():
            self._point(self.canary["canaryService"], self.stable, check=False)  # :212
        weight = replicas.desired_weight(self.rollout, self.new, self.stable, aborted=self._aborted())
        if not replicas.can_carry(self.rollout, self.stable, replicas.MAX - weight):
            return
        _set_weights(self.store, self.canary, weight)
        self.weights = {
            "canary": {"weight": weight, "podTemplateHash": hash_of(self.new)},
            "stable": {"weight": replicas.MAX - weight, "podTemplateHash": hash_of(self.stable)},
        }
        for side in self.weights:
            self.weights[side]["serviceName"] = self.canary[f"{side}Service"]

    def _move_replicas(self) -> bool:
        """rollout/canary.go:422-458: whether something was scaled; one after the other."""
        if self.rollout["spec"].get("paused") or self._pause_of("InconclusiveAnalysisRun"):
            return False  # rollout/context.go:134-142
        self._forget_deadlines()
        other = self.stable is not None and self.stable is not self.new
        if other and self._scale(self.stable, replicas.replicas_of(self.rollout)):
            return True
        return self._scale_new() or self._scale_others()

    def _forget_deadlines(self) -> None:
        """rollout/replicaset.go:102-119: in the API alone, not in what this reconcile has in hand."""
        for one in (self.new if not self._delays() else None, self.stable):
            if one is not None and deadline(one):
                live = self.store.find("ReplicaSet", one["metadata"]["name"])
                assert live is not None
                live["metadata"]["annotations"].pop(replicas.DEADLINE, None)
                self.store.write(live, MANAGER)

    def _delays(self) -> bool:
        """rollout/replicaset.go:209-233: after an abort its pods stay for a while."""
        return self._aborted() and self.stable is not None and self.canary.get("abortScaleDownDelaySeconds") != 0

    def _scale_new(self) -> bool:
        """rollout/replicaset.go:121-206."""
        assert self.new is not None
        wanted = self._wanted()
        if self._delays():
            if end := deadline(self.new):
                if datetime.fromisoformat(end) > self.store.now:
                    return False
                wanted = 0
            else:
                if available(self.stable) == replicas.replicas_of(self.rollout):
                    seconds = self.canary.get("abortScaleDownDelaySeconds")
                    self._set_deadline(self.new, timedelta(seconds=seconds) if seconds else _DELAY)
                return False
        return self._scale(self.new, wanted)

    def _wanted(self) -> int:
        return replicas.desired_canary(self.rollout)

    def _scale_others(self) -> bool:
        """rollout/replicaset.go:237-302, rollout/canary.go:178-260."""
        active = [one for one in self.others if scale(one)]
        scaled = False
        for index, one in enumerate(active):  # pods that are not available go first (:272-302)
            if scale(one) != available(one):
                self._scale(one, available(one))
                scaled = True
                active[index] = self.store.find("ReplicaSet", one["metadata"]["name"]) or one
        # :185-191; maxUnavailable is a quarter, rounded down (utils/replicaset/replicaset.go:407-426).
        unavailable = replicas.replicas_of(self.rollout) // 4
        room = sum(available(one) for one in self.all) - (replicas.replicas_of(self.rollout) - unavailable)
        if room <= 0:
            return False
        for one in sorted(active, key=revision, reverse=True):
            if room <= 0:
                break
            if self._referenced(one) or not scale(one):
                continue
            wanted = 0
            if self._promoted() or deadline(one):  # :222-233: stable of before keeps its pods for a while
                wanted = self._delayed(one)
            if wanted != scale(one):
                room -= scale(one) - wanted
                self._scale(one, wanted)
                scaled = True
        return scaled

    def _delayed(self, one: Object) -> int:
        """rollout/replicaset.go:304-342."""
        if not deadline(one):
            seconds = self.canary.get("scaleDownDelaySeconds")
            self._set_deadline(one, timedelta(seconds=seconds) if seconds else _DELAY)
            return scale(one)
        return scale(one) if datetime.fromisoformat(deadline(one)) > self.store.now else 0

    def _set_deadline(self, one: Object, delay: timedelta) -> None:
        live = self.store.find("ReplicaSet", one["metadata"]["name"])
        assert live is not None
        live["metadata"]["annotations"][replicas.DEADLINE] = stamp(self.store.now + delay)
        self.store.write(live, MANAGER)

    def _scale(self, one: Object, wanted: int) -> bool:
        """rollout/sync.go:342-391: the number of the Rollout goes onto the ReplicaSet too."""
        desired = str(replicas.replicas_of(self.rollout))
        if scale(one) == wanted and one["metadata"]["annotations"].get(replicas.DESIRED) == desired:
            return False
        live = self.store.find("ReplicaSet", one["metadata"]["name"])
        assert live is not None
        live["spec"]["replicas"] = wanted
        live["metadata"]["annotations"][replicas.DESIRED] = desired
        if not wanted and not self._delays():
            live["metadata"]["annotations"].pop(replicas.DEADLINE, None)
        self.store.write(live, MANAGER)
        return scale(one) != wanted

    def _referenced(self, one: Object) -> bool:
        """rollout/replicaset.go:347-402."""
        status = self.rollout["status"]
        weights = (status.get("canary") or {}).get("weights") or {}
        known = [status.get("stableRS"), status.get("currentPodHash")]
        known += [weights.get(side, {}).get("podTemplateHash") for side in ("canary", "stable")]
        services = (self.store.find("Service", self.canary[f"{side}Service"]) for side in ("canary", "stable"))
        known += [(service or {"spec": {}})["spec"].get("selector", {}).get(HASH) for service in services]
        return hash_of(one) in known


def _set_weights(store: Store, canary: Object, weight: int) -> None:
    """rollout/trafficrouting/traefik/traefik.go:88-137. Without the flags for Traefik 3 it finds nothing here at all
    (utils/defaults/defaults.go:65-66), and no release gets a pod."""
    service = store.find("TraefikService", canary["trafficRouting"]["traefik"]["weightedTraefikServiceName"])
    if service is None:
        raise LookupError("the server could not find the requested resource")
    for one in service["spec"]["weighted"]["services"]:
        if one["name"] in (canary["canaryService"], canary["stableService"]):
            one["weight"] = weight if one["name"] == canary["canaryService"] else replicas.MAX - weight
    store.write(service, MANAGER)
