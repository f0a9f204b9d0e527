"""A blue-green rollout of Argo Rollouts 1.9.1, from what is there to the next status (rollout/bluegreen.go).

Of it what engine/k8s/components/blue-green uses: both Services, promotion without a person, analysis before it. A delay
(`autoPromotionSeconds`), a smaller preview and an analysis afterwards are refused.
"""

from __future__ import annotations

from typing import Any

from support.kubernetes import argo_replicas as replicas
from support.kubernetes.argo_analyses import Analyses
from support.kubernetes.argo_context import MANAGER
from support.kubernetes.argo_pods import MANAGED_BY
from support.kubernetes.argo_replicas import HASH, available, deadline, hash_of, scale

Object = dict[str, Any]
_PLAYED = {
    *("activeService", "previewService", "autoPromotionEnabled", "prePromotionAnalysis"),
    *("scaleDownDelaySeconds", "abortScaleDownDelaySeconds"),
}


class BlueGreen(Analyses):
    """What differs from a canary. Delays of pods are read from `canary`, which is the strategy here."""

    def _roll(self) -> None:
        """rollout/bluegreen.go:18-67."""
        if unknown := set(self.canary) - _PLAYED:
            raise NotImplementedError(f"blueGreen: {unknown} are not played")
        self._point_preview()
        if self._changed():
            self._sync_status()
            return
        self._move_replicas()
        self._point_active()
        self._analyse()
        self._sync_status()

    def _step_hash(self) -> str:
        """utils/conditions/conditions.go:322-325."""
        return ""

    def _known(self) -> Object:
        return dict(self.rollout["status"].get("blueGreen") or {})

    def _service(self, name: str) -> Object:
        found = self.store.find("Service", self.canary[name])
        assert found is not None
        return found

    def _selected(self, name: str) -> str:
        """utils/service, GetRolloutSelectorLabel."""
        return str(self._service(name)["spec"].get("selector", {}).get(HASH, ""))

    def _switch(self, name: str, to: str) -> None:
        """rollout/service.go:50-75."""
        service = self._service(name)
        if service["spec"]["selector"].get(HASH) == to and MANAGED_BY in (service["metadata"].get("annotations") or {}):
            return
        service["metadata"].setdefault("annotations", {})[MANAGED_BY] = self.rollout["metadata"]["name"]
        service["spec"]["selector"][HASH] = to
        self.store.write(service, MANAGER)

    def _halted(self) -> bool:
        """rollout/context.go:134-142."""
        return bool(self.rollout["spec"].get("paused") or self._pause_of("InconclusiveAnalysisRun"))

    def _point_preview(self) -> None:
        """rollout/service.go:77-92."""
        if not self._halted():
            self._switch("previewService", hash_of(self.new))

    def _saturated(self) -> bool:
        """utils/annotations/annotations.go:257-270, which with the whole number of pods is ReadyForPause too."""
        assert self.new is not None
        wanted = replicas.replicas_of(self.rollout)
        desired = self.new["metadata"]["annotations"].get(replicas.DESIRED)
        return scale(self.new) == available(self.new) == wanted and desired == str(wanted)

    def _point_active(self) -> None:
        """rollout/service.go:94-123; fast tracks: rollout/bluegreen.go:112-127."""
        if self._halted() or not self._saturated():
            return
        status, active, new = self.rollout["status"], self._selected("activeService"), hash_of(self.new)
        run = self._current_run()
        fast = deadline(self.new) or status.get("promoteFull") or not active or active == new
        judged = not self.canary.get("prePromotionAnalysis") or (
            run is not None and run["status"].get("phase") == "Successful"
        )
        to = new if fast or judged else active
        self._switch("activeService", status.get("stableRS", "") if status.get("abort") else to)

    def _move_replicas(self) -> bool:
        """rollout/bluegreen.go:69-108: all of them in one reconcile."""
        if self._halted():
            return False
        self._forget_deadlines()
        if self.stable is not None:
            self._scale(self.stable, replicas.replicas_of(self.rollout))
        self._scale_new()
        for one in sorted((each for each in self.others if scale(each)), key=replicas.revision, reverse=True):
            if not self._referenced(one):  # :203-260
                self._scale(one, self._delayed(one))
        self._collect_garbage()
        return False

    def _wanted(self) -> int:
        """utils/replicaset/replicaset.go:251-279, without previewReplicaCount."""
        return replicas.replicas_of(self.rollout)

    def _referenced(self, one: Object) -> bool:
        """rollout/replicaset.go:347-402."""
        status, known = self.rollout["status"], self._known()
        static = [status.get("stableRS"), status.get("currentPodHash")]
        static += [known.get("activeSelector"), known.get("previewSelector")]
        return hash_of(one) in [*static, self._selected("activeService"), self._selected("previewService")]

    def _current_run(self) -> Object | None:
        """utils/analysis/filter.go:27-58."""
        name = (self._known().get("prePromotionAnalysisRunStatus") or {}).get("name")
        return next((one for one in self.runs if one["metadata"]["name"] == name), None)

    def _reconcile_run(self, run: Object | None) -> Object | None:
        """rollout/analysis.go:241-292."""
        status, analysis = self.rollout["status"], self.canary.get("prePromotionAnalysis")
        active, new = self._known().get("activeSelector", ""), hash_of(self.new)
        if not analysis:
            self._cancel(run)
            return None
        if status.get("stableRS") == new or active in ("", new) or (run is None and not self._saturated()):
            self._cancel(run)
            return run
        if not self._pause_of("InconclusiveAnalysisRun"):
            if self._needs_run(run):
                run = self._create_run(analysis, "pre", {"rollout-type": "PrePromotion"})
            self._judge(run, "Blue/green pre-promotion")
        return run

    def _sync_status(self) -> None:
        """rollout/bluegreen.go:262-312 and rollout/sync.go:394-424."""
        old = self.rollout["status"]
        selectors = {f"{name}Selector": self._selected(f"{name}Service") for name in ("preview", "active")}
        run = {"prePromotionAnalysisRunStatus": self.run_status} if self.run_status else {}
        self.status = self._base_status() | {"blueGreen": selectors | run, "canary": {}}
        if self._changed():
            self._reset()
        if old.get("promoteFull") or self._within_window():
            self.ends_all_pauses = self.forgives = True
        if self._promotes():
            self.ends_all_pauses = self.forgives = True
            self.status |= {"promoteFull": False, "stableRS": self.status["currentPodHash"]}
        active = next((one for one in self.all if hash_of(one) == selectors["activeSelector"]), None)
        if active is not None:
            self.status |= {
                "HPAReplicas": replicas.created(active),
                "availableReplicas": available(active),
                "readyReplicas": int(active.get("status", {}).get("readyReplicas") or 0),
                "selector": ",".join(f"{k}={v}" for k, v in active["spec"]["selector"]["matchLabels"].items()),
            }
        self._set_conditions()
        self._persist(self.status)

    def _reset(self) -> None:
        """rollout/sync.go:890-903."""
        self.ends_all_pauses = self.forgives = True
        self.status["promoteFull"] = False
        self.status["blueGreen"].pop("prePromotionAnalysisRunStatus", None)

    def _promotes(self) -> bool:
        """rollout/sync.go:939-942 and 969-1004."""
        active = self.status["blueGreen"]["activeSelector"]
        if self.stable is None or not active:
            return True
        if active != self.status["currentPodHash"]:
            return False
        return bool(self.rollout["status"].get("promoteFull")) or self._within_window() or not self._aborted()
