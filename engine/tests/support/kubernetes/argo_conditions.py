"""Conditions and phase of a Rollout, as Argo Rollouts 1.9.1 computes them; each names its file and line there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from support.kubernetes.argo_replicas import canary_of, current_step, replicas_of

Object = dict[str, Any]
_MESSAGES = {
    "RolloutPaused": "Rollout is paused",
    "RolloutResumed": "Rollout is resumed",
    "RolloutRetry": "Retrying Rollout after abort",
    "RolloutCompleted": "RolloutCompleted",
}


def condition(now: str, kind: str, status: str, reason: str, message: str = "") -> Object:
    """utils/conditions/conditions.go:193-202."""
    text = message or _MESSAGES[reason]
    times = {"lastTransitionTime": now, "lastUpdateTime": now}
    return {"type": kind, "status": status, "reason": reason, "message": text, **times}


def find(status: Object, kind: str) -> Object | None:
    return next((one for one in status.get("conditions") or () if one["type"] == kind), None)


def put(status: Object, new: Object) -> bool:
    """utils/conditions/conditions.go:218-230: nothing where status and reason are the same already."""
    old = find(status, new["type"])
    if old and (old["status"], old["reason"]) == (new["status"], new["reason"]):
        return False
    if old and old["status"] == new["status"]:
        new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    status["conditions"] = [*(one for one in status.get("conditions") or () if one["type"] != new["type"]), new]
    return True


def drop(status: Object, kind: str) -> None:
    status["conditions"] = [one for one in status.get("conditions") or () if one["type"] != kind]


def healthy(rollout: Object, status: Object) -> bool:
    """utils/conditions/conditions.go:286-313."""
    replicas = replicas_of(rollout)
    stable = status.get("stableRS", "")
    if "blueGreen" in rollout["spec"]["strategy"]:
        selectors = [(status.get("blueGreen") or {}).get(f"{one}Selector") for one in ("active", "preview")]
        return bool(
            status.get("updatedReplicas", 0) == status.get("availableReplicas", 0) == replicas
            and rollout["status"].get("observedGeneration") == str(rollout["metadata"]["generation"])
            and selectors == [status.get("currentPodHash")] * 2
        )
    steps, index = len(canary_of(rollout)["steps"]), status.get("currentStepIndex")
    return bool(
        status.get("updatedReplicas", 0) == status.get("availableReplicas", 0) == status.get("replicas", 0) == replicas
        and rollout["status"].get("observedGeneration") == str(rollout["metadata"]["generation"])
        and (index is None or index == steps)
        and stable
        and stable == status.get("currentPodHash")
    )


def completed(status: Object) -> bool:
    """utils/conditions/conditions.go:316-318."""
    return bool(status.get("stableRS")) and status.get("stableRS") == status.get("currentPodHash")


def progressing(old: Object, new: Object) -> bool:
    """utils/conditions/conditions.go:253-282."""

    def count(status: Object, key: str) -> int:
        return int(status.get(key) or 0)

    steps = [one.get("currentStepIndex") for one in (old, new)]
    services = [
        [(one.get("blueGreen") or {}).get(f"{side}Selector") for side in ("active", "preview")] for one in (old, new)
    ]
    return (
        new.get("stableRS", "") != old.get("stableRS", "")
        or (None not in steps and steps[0] != steps[1])
        or services[0] != services[1]
        or new.get("currentStepHash", "") != old.get("currentStepHash", "")
        or count(new, "updatedReplicas") != count(old, "updatedReplicas")
        or count(new, "replicas") - count(new, "updatedReplicas")
        < count(old, "replicas") - count(old, "updatedReplicas")
        or count(new, "readyReplicas") > count(old, "readyReplicas")
        or count(new, "availableReplicas") > count(old, "availableReplicas")
    )


def deadline_of(rollout: Object, status: Object) -> datetime | None:
    """When the progress of it is over (utils/conditions/conditions.go:341-370); None: it is not looked at."""
    found = find(status, "Progressing")
    if found is None or found["reason"] in ("RolloutAborted", "RolloutPaused"):
        return None
    seconds = int(rollout["spec"].get("progressDeadlineSeconds", 600))  # utils/defaults/defaults.go:28
    return datetime.fromisoformat(found["lastUpdateTime"]) + timedelta(seconds=seconds)


def timed_out(rollout: Object, status: Object, now: datetime) -> bool:
    found, end = find(status, "Progressing"), deadline_of(rollout, status)
    return end is not None and found is not None and (found["reason"] == "ProgressDeadlineExceeded" or end < now)


def indefinite(rollout: Object) -> bool:
    """rollout/sync.go:563-572: a step for which the deadline of progress does not count."""
    step = current_step(rollout)[0] if "canary" in rollout["spec"]["strategy"] else None
    paused = find(rollout["status"], "Paused")
    return bool(step and {"experiment", "analysis", "pause"} & set(step)) or bool(paused and paused["status"] == "True")


def phase(rollout: Object, status: Object) -> tuple[str, str]:
    """utils/rollout/rolloututil.go:133-190."""
    for one in status.get("conditions") or ():
        if one["type"] == "InvalidSpec":
            return "Degraded", f"InvalidSpec: {one['message']}"
        if one["reason"] in ("RolloutAborted", "ProgressDeadlineExceeded"):
            return "Degraded", f"{one['reason']}: {one['message']}"
    updated, up = int(status.get("updatedReplicas") or 0), int(status.get("availableReplicas") or 0)
    if rollout["spec"].get("paused"):
        return "Paused", "manually paused"
    if status.get("pauseConditions"):
        return "Paused", str(status["pauseConditions"][0]["reason"])
    if updated < replicas_of(rollout):
        return "Progressing", "more replicas need to be updated"
    if up < updated:
        return "Progressing", "updated replicas are still becoming available"
    basic = "canary" in rollout["spec"]["strategy"] and not canary_of(rollout).get("trafficRouting")
    if basic and int(status.get("replicas") or 0) > updated:
        return "Progressing", "old replicas are pending termination"
    if "blueGreen" in rollout["spec"]["strategy"]:
        if (status.get("blueGreen") or {}).get("activeSelector", "") in ("", None) or (
            status["blueGreen"]["activeSelector"] != status.get("currentPodHash")
        ):
            return "Progressing", "active service cutover pending"
        if not completed(status):
            return "Progressing", "waiting for post-promotion verification to complete"
    return ("Healthy", "") if completed(status) else ("Progressing", "waiting for all steps to complete")
