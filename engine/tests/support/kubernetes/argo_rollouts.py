"""The controller of Argo Rollouts 1.9.1 as a state machine: one reconcile of one Rollout, a canary over Traefik,
blue-green (argo_blue_green.py) or rolling (argo_rolling.py).

Transcribed from its source at v1.9.1 (commit b6bd3bcf); each step names file and line there. It is judged by what the
real controller wrote (engine/tests/unit/cluster/test_argo_rollouts.py). Not here, and refused: experiments,
steps without Traefik, `workloadRef`, plugins, background analyses, restarts, ping-pong.
"""

from __future__ import annotations

from typing import Any

from support.kubernetes import argo_conditions as conditions
from support.kubernetes import argo_replicas as replicas
from support.kubernetes.argo_analyses import Analyses
from support.kubernetes.argo_blue_green import BlueGreen
from support.kubernetes.argo_context import MANAGER, Store, pause_end
from support.kubernetes.argo_replicas import REVISION, available, deadline, hash_of, scale
from support.kubernetes.argo_rolling import Rolling
from support.kubernetes.field_ownership import copied

Object = dict[str, Any]


def reconcile(store: Store, name: str) -> None:
    """rollout/controller.go:425-467."""
    rollout = store.cached("Rollout", name)
    if rollout is None:
        return
    rollout.setdefault("status", {})
    if "replicas" not in rollout["spec"]:  # :445-453, one, and everything else at the next time
        rollout["spec"]["replicas"] = 1
        store.write(rollout, MANAGER)
        return
    strategy = rollout["spec"]["strategy"]
    kind = _CanaryReconciliation if "steps" in strategy.get("canary", {}) else _RollingReconciliation
    (_BlueGreenReconciliation if "blueGreen" in strategy else kind)(store, rollout).run()


class _Reconciliation(Analyses):
    """From what is there to the next status; what both strategies have in common."""

    services: tuple[str, ...]

    def run(self) -> None:
        if fault := self._invalid():
            self._refuse(fault)
            return
        self._find_replica_sets()
        if self._promoted() and self._aborted():
            self.forgives = True  # rollout/controller.go:596-599
        self._check_pauses()
        self._sync_revision()
        if self._is_scaling():
            self._scale_only()
            return
        self._roll()

    def _roll(self) -> None:
        raise NotImplementedError

    def _sync_status(self) -> None:
        raise NotImplementedError

    def _invalid(self) -> str:
        """rollout/controller.go:806-819 and 881-912."""
        strategy = next(iter(self.rollout["spec"]["strategy"]))
        for field in self.services:
            name = self.canary[field]
            if self.store.find("Service", name) is None:
                return f'spec.strategy.{strategy}.{field}: Invalid value: "{name}": service "{name}" not found'
        for index, step in enumerate(self.canary.get("steps", ())):
            for template in (step.get("analysis") or {}).get("templates") or ():
                name = template["templateName"]
                if self.store.find("AnalysisTemplate", name) is None:
                    where = f"spec.strategy.canary.steps[{index}].analysis.templates"
                    return f"{where}: Invalid value: \"{name}\": AnalysisTemplate '{name}' not found"
        return ""

    def _refuse(self, fault: str) -> None:
        """rollout/controller.go:623-644; it comes again after 20 s (:436), or when what it lacked is made."""
        status = copied(self.rollout["status"])
        message = f'The Rollout "{self.rollout["metadata"]["name"]}" is invalid: {fault}'
        if (found := conditions.find(status, "InvalidSpec")) and found["message"] != message:
            conditions.drop(status, "InvalidSpec")
        self._patch_conditions(status, conditions.condition(self.now, "InvalidSpec", "True", "InvalidSpec", message))

    def _check_pauses(self) -> None:
        """rollout/sync.go:484-527."""
        status = self.rollout["status"]
        found = conditions.find(status, "Progressing") or {}
        paused = bool(status.get("pauseConditions")) or bool(self.rollout["spec"].get("paused"))
        aborted = found.get("reason") == "RolloutAborted"
        new: list[Object] = []
        if paused != (found.get("reason") == "RolloutPaused") and not aborted and not conditions.completed(status):
            reason = "RolloutPaused" if paused else "RolloutResumed"
            new.append(conditions.condition(self.now, "Progressing", "Unknown", reason))
        if not status.get("abort") and aborted:
            new.append(conditions.condition(self.now, "Progressing", "Unknown", "RolloutRetry"))
        before = (conditions.find(status, "Paused") or {}).get("status") == "True"
        if paused != before and not aborted:
            new.append(conditions.condition(self.now, "Paused", str(paused), "RolloutPaused"))
        if new:
            self._patch_conditions(copied(status), *new)

    def _is_scaling(self) -> bool:
        """rollout/sync.go:320-340."""
        wanted = replicas.replicas_of(self.rollout)
        return any(
            one is not None
            and scale(one)
            and one["metadata"]["annotations"].get(replicas.DESIRED, str(wanted)) != str(wanted)
            for one in (self.new, self.stable)
        )

    def _scale_only(self) -> None:
        """rollout/sync.go:272-313: the old status, under the new generation."""
        self._move_replicas()
        status = copied(self.rollout["status"])
        status["availableReplicas"] = sum(available(one) for one in self.all)
        status["HPAReplicas"] = sum(replicas.created(one) for one in self.all)
        self._persist(status)

    def _base_status(self) -> Object:
        """rollout/sync.go:394-424."""
        old = self.rollout["status"]
        return {
            "currentPodHash": hash_of(self.new),
            "replicas": sum(replicas.created(one) for one in self.all),
            "updatedReplicas": replicas.created(self.new),
            "readyReplicas": sum(int(one.get("status", {}).get("readyReplicas") or 0) for one in self.all),
            "availableReplicas": sum(available(one) for one in self.all),
            "HPAReplicas": sum(replicas.created(one) for one in self.all),
            "conditions": [one for one in old.get("conditions") or () if one["type"] != "InvalidSpec"],
            "selector": ",".join(f"{k}={v}" for k, v in self.rollout["spec"]["selector"]["matchLabels"].items()),
            "stableRS": old.get("stableRS", ""),
            "promoteFull": bool(old.get("promoteFull")) and hash_of(self.new) != old.get("stableRS"),
        }

    def _set_conditions(self) -> None:
        """rollout/sync.go:587-740."""
        old, new, rollout = self.rollout["status"], self.status, self.rollout
        paused = bool(old.get("pauseConditions")) or bool(rollout["spec"].get("paused"))
        became_unhealthy = False
        if not paused and conditions.healthy(rollout, new):
            self._put("Healthy", "True", "RolloutHealthy", "Rollout is healthy")
        elif conditions.find(old, "Healthy"):
            became_unhealthy = self._put("Healthy", "False", "RolloutHealthy", "Rollout is not healthy")
        if self._aborted():
            words = f"Rollout aborted update to revision {rollout['metadata']['annotations'][REVISION]}"
            self._put(
                "Progressing",
                "False",
                "RolloutAborted",
                words + (f": {self.abort_message}" if self.abort_message else ""),
            )
        else:
            self._set_progress(became_unhealthy=became_unhealthy)
        enough = new["availableReplicas"] >= replicas.replicas_of(rollout)
        words = "Rollout has minimum availability" if enough else "Rollout does not have minimum availability"
        self._put("Available", str(enough), "AvailableReason", words)
        self._set_failure()
        self._put("Completed", str(conditions.completed(new)), "RolloutCompleted", "RolloutCompleted")

    def _set_progress(self, *, became_unhealthy: bool) -> None:
        """rollout/sync.go:627-699."""
        old, new, rollout = self.rollout["status"], self.status, self.rollout
        name = f'ReplicaSet "{(self.new or {})["metadata"]["name"]}"'
        if conditions.healthy(rollout, new):
            self._put("Progressing", "True", "NewReplicaSetAvailable", f"{name} has successfully progressed.")
        elif conditions.progressing(old, new) or became_unhealthy:
            reason, words = "ReplicaSetUpdated", f"{name} is progressing."
            if conditions.completed(new) and became_unhealthy:
                reason, words = "ReplicaSetNotAvailable", "Rollout does not have minimum availability"
            found = conditions.condition(self.now, "Progressing", "True", reason, words)
            before = conditions.find(old, "Progressing")
            if before and before["status"] == "True":
                found["lastTransitionTime"] = before["lastTransitionTime"]
            conditions.drop(new, "Progressing")
            conditions.put(new, found)
        elif (
            not conditions.indefinite(rollout)
            and not any(deadline(one) for one in self.others)
            and conditions.timed_out(rollout, new, self.store.now)
        ):
            words = f"{name} has timed out progressing."
            self._put("Progressing", "False", "ProgressDeadlineExceeded", words)
            if rollout["spec"].get("progressDeadlineAbort"):
                self.aborts, self.abort_message = True, words

    def _set_failure(self) -> None:
        """rollout/sync.go:711-720 and 853-888."""
        failed = [
            one
            for replica_set in (self.new, *self.all)
            for one in (replica_set or {}).get("status", {}).get("conditions") or ()
            if one["type"] == "ReplicaFailure"
        ]
        if failed:
            conditions.put(self.status, {**failed[0], "lastUpdateTime": failed[0]["lastTransitionTime"]})
        else:
            conditions.drop(self.status, "ReplicaFailure")

    def _put(self, kind: str, status: str, reason: str, message: str) -> bool:
        return conditions.put(self.status, conditions.condition(self.now, kind, status, reason, message))


class _CanaryReconciliation(_Reconciliation):
    """rollout/canary.go."""

    services = ("stableService", "canaryService")

    def _roll(self) -> None:
        """rollout/canary.go:22-85."""
        if self._changed():
            self._sync_status()
            return
        self._collect_garbage()
        self._move_services()
        self._route_traffic()
        self._analyse()
        if not self.pauses and not self._move_replicas():
            self._pause()
        self._sync_status()

    def _pause(self) -> None:
        """rollout/canary.go:135-175."""
        step, _ = replicas.current_step(self.rollout)
        status = self.rollout["status"]
        if self.rollout["spec"].get("paused") or status.get("promoteFull") or step is None or "pause" not in step:
            return
        if not self._pause_of("CanaryPauseStep") and not status.get("controllerPause"):
            self.pauses.append("CanaryPauseStep")

    def _step_is_done(self) -> bool:
        """rollout/canary.go:307-344, rollout/pause.go:172-187."""
        step, _ = replicas.current_step(self.rollout)
        if self.rollout["spec"].get("paused") or step is None:
            return False
        if "pause" in step:
            found, wanted = self._pause_of("CanaryPauseStep"), (step["pause"] or {}).get("duration")
            if found is None:
                return bool(self.rollout["status"].get("controllerPause"))
            return wanted is not None and self.store.now > pause_end(found, wanted)
        if "analysis" in step:
            run = self._current_run()
            return run is not None and run["status"].get("phase") == "Successful"
        if {"setCanaryScale", "setWeight"} & set(step):
            return replicas.at_desired_counts(self.rollout, self.new, self.stable)
        raise NotImplementedError(f"the step {next(iter(step))} is not played")

    def _sync_status(self) -> None:
        """rollout/canary.go:346-420."""
        old, steps = self.rollout["status"], len(self.canary["steps"])
        run = {"currentStepAnalysisRunStatus": self.run_status} if self.run_status else {}
        weights = {"weights": self.weights} if self.weights else {}
        self.status = self._base_status() | {
            "currentStepHash": self._step_hash(),
            "currentStepIndex": int(old.get("currentStepIndex") or 0),
            "canary": weights | run,
            "blueGreen": {},
        }
        if self._changed():
            self._begin_again(steps)
        elif self._promotes():
            self._promote(steps)
        elif self._aborted():
            self.status["currentStepIndex"] = steps if conditions.completed(self.status) else 0
        elif self._step_is_done():
            self.status["currentStepIndex"] += 1
            self.status["canary"].pop("currentStepAnalysisRunStatus", None)
            self.ends_pause = True
        if not steps:
            self.status.pop("currentStepIndex")
        self._set_conditions()
        self._persist(self.status)

    def _begin_again(self, steps: int) -> None:
        """rollout/sync.go:890-903, rollout/canary.go:361-373: from the first step, or to the last: back to stable, or
        to one inside the window that still has pods."""
        self.ends_all_pauses = self.forgives = True
        self.status |= {"promoteFull": False, "currentStepIndex": 0}
        self.status["canary"].pop("currentStepAnalysisRunStatus", None)
        assert self.new is not None
        if self.status["stableRS"] == hash_of(self.new) or (self._within_window() and scale(self.new)):
            self.status["currentStepIndex"] = steps

    def _promotes(self) -> bool:
        """rollout/canary.go:379-385, rollout/sync.go:939-967."""
        full = bool(self.rollout["status"].get("promoteFull")) or self._within_window()
        if full:
            self.ends_all_pauses = self.forgives = True
            self.status["currentStepIndex"] = len(self.canary["steps"])
        if self.stable is None:
            return True
        if self._aborted() or available(self.new) < replicas.replicas_of(self.rollout):
            return False
        _, index = replicas.current_step(self.rollout)
        return full or index == len(self.canary["steps"])

    def _promote(self, steps: int) -> None:
        """rollout/sync.go:1011-1049."""
        self.ends_all_pauses = self.forgives = True
        self.status |= {"promoteFull": False, "currentStepIndex": steps, "stableRS": self.status["currentPodHash"]}


class _RollingReconciliation(Rolling, _CanaryReconciliation):
    """rollout/canary.go, where there are neither steps nor Services."""

    services = ()


class _BlueGreenReconciliation(BlueGreen, _Reconciliation):
    """rollout/bluegreen.go."""

    services = ("previewService", "activeService")
