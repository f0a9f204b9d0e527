"""How many pods and how much traffic Argo Rollouts gives to a canary with Traefik, as pure functions.

Transcribed from Argo Rollouts 1.9.1; each function names its file and line there. Only what our canaries use is here: a
canary with traffic routing, whose stable pods all stay (no `dynamicStableScale`), without `replicaProgressThreshold`.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
HASH = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
DESIRED = "rollout.argoproj.io/desired-replicas"
DEADLINE = "scale-down-deadline"
MAX = 100


def replicas_of(rollout: Object) -> int:
    return int(rollout["spec"]["replicas"])


def hash_of(replica_set: Object | None) -> str:
    return str(replica_set["metadata"]["labels"][HASH]) if replica_set else ""


def available(replica_set: Object | None) -> int:
    return int((replica_set or {}).get("status", {}).get("availableReplicas") or 0)


def scale(replica_set: Object) -> int:
    return int(replica_set["spec"]["replicas"])


def created(replica_set: Object | None) -> int:
    return int((replica_set or {}).get("status", {}).get("replicas") or 0)


def revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def deadline(replica_set: Object | None) -> str:
    """utils/replicaset/replicaset.go, HasScaleDownDeadline."""
    return str(((replica_set or {}).get("metadata", {}).get("annotations") or {}).get(DEADLINE, ""))


def canary_of(rollout: Object) -> Object:
    canary = rollout["spec"].get("strategy", {}).get("canary")
    if canary and not {"steps", "trafficRouting", "stableService", "canaryService"} & set(canary):
        return {**canary, "steps": []}  # argo_rolling.py
    if not canary or "traefik" not in (canary.get("trafficRouting") or {}):
        raise NotImplementedError("only a canary with Traefik is played, or one without steps")
    return dict(canary)


def current_step(rollout: Object) -> tuple[Object | None, int]:
    """utils/replicaset/canary.go:480-494."""
    steps = canary_of(rollout)["steps"]
    index = int(rollout["status"].get("currentStepIndex") or 0)
    return (steps[index] if index < len(steps) else None), index


def current_weight(rollout: Object) -> int:
    """utils/replicaset/canary.go:546-562: of the last setWeight up to now; 0 after an abort, 100 at the end."""
    step, index = current_step(rollout)
    if rollout["status"].get("abort"):
        return 0
    return MAX if step is None else weight_before(rollout, index + 1)


def weight_before(rollout: Object, index: int) -> int:
    """Of the last setWeight before a step."""
    weights = [one["setWeight"] for one in canary_of(rollout)["steps"][:index] if "setWeight" in one]
    return int(weights[-1]) if weights else 0


def canary_scale(rollout: Object) -> Object | None:
    """utils/replicaset/canary.go:567-595: the last setCanaryScale, unless aborted or given back to the weight."""
    step, index = current_step(rollout)
    # :572-578: after an abort only where abortScaleDownDelaySeconds is 0.
    if step is None or (rollout["status"].get("abort") and canary_of(rollout).get("abortScaleDownDelaySeconds") != 0):
        return None
    scales = [one["setCanaryScale"] for one in canary_of(rollout)["steps"][: index + 1] if "setCanaryScale" in one]
    return None if not scales or scales[-1].get("matchTrafficWeight") else scales[-1]


def desired_canary(rollout: Object) -> int:
    """utils/replicaset/canary.go:371-387 and 496-509, with minPodsPerReplicaSet (:357-365)."""
    status = rollout["status"]
    stable = status.get("stableRS", "")
    weight = current_weight(rollout)
    if status.get("promoteFull") or not stable or status.get("currentPodHash", "") == stable:
        weight = MAX
    elif wanted := canary_scale(rollout):
        if "replicas" in wanted:
            return int(wanted["replicas"])
        weight = int(wanted["weight"])
    count = -(-weight * replicas_of(rollout) // MAX)  # rounded up, :417-419
    return max(count, int(canary_of(rollout).get("minPodsPerReplicaSet", 0))) if count else 0


def at_desired_counts(rollout: Object, new: Object | None, stable: Object | None) -> bool:
    """utils/replicaset/canary.go:59-86: the canary's pods are available, those of stable only made."""
    wanted, all_of_it = desired_canary(rollout), replicas_of(rollout)
    if new is None or wanted != scale(new) or wanted != available(new):
        return False
    return stable is not None and all_of_it == scale(stable) and all_of_it == created(stable)


def desired_weight(rollout: Object, new: Object | None, stable: Object | None, *, aborted: bool) -> int:
    """rollout/trafficrouting.go:192-269."""
    status = rollout["status"]
    _, index = current_step(rollout)
    if status.get("stableRS") == status.get("currentPodHash") or aborted or not available(new):
        return 0
    if status.get("promoteFull"):
        return int((status.get("canary", {}).get("weights") or {}).get("canary", {}).get("weight", 0))
    if not at_desired_counts(rollout, new, stable):
        return weight_before(rollout, index)  # :250-258: that of before, until the pods are there
    return current_weight(rollout)


def can_carry(rollout: Object, stable: Object | None, weight: int) -> bool:
    """rollout/trafficrouting.go:142-158: weights stay as they are where stable has too few pods for its share."""
    return stable is not None and available(stable) >= (weight * replicas_of(rollout)) // MAX
