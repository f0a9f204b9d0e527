"""What a reconcile of Argo Rollouts 1.9.1 has in hand: the Rollout and its ReplicaSets as they were read, and how its
status is written. The state machine itself is argo_rollouts.py."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol

from support.kubernetes import argo_conditions as conditions
from support.kubernetes import argo_replicas as replicas
from support.kubernetes.argo_replicas import HASH, REVISION, hash_of, revision
from support.kubernetes.field_ownership import copied
from support.kubernetes.pod_defaults import defaulted

Object = dict[str, Any]
MANAGER = "rollouts-controller"
_HISTORY = "rollout.argoproj.io/revision-history"
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, _HISTORY, replicas.DESIRED}


class Store(Protocol):
    """What a controller reads and writes. What it reads is its own copy."""

    now: datetime

    def find(self, kind: str, name: str) -> Object | None: ...
    def cached(self, kind: str, name: str) -> Object | None: ...
    def all(self, kind: str) -> list[Object]: ...
    def write(self, document: Object, manager: str) -> Object: ...
    def delete(self, kind: str, name: str) -> None: ...


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Context:
    """`rollout`: as it was read; `new`, `stable`, `others`: ReplicaSets as they were read (rollout/context.go)."""

    def __init__(self, store: Store, rollout: Object) -> None:
        self.store, self.rollout = store, rollout
        self.now = stamp(store.now)
        self.canary = rollout["spec"]["strategy"].get("blueGreen") or replicas.canary_of(rollout)
        self.runs = [one for one in store.all("AnalysisRun") if _owned(one, rollout)]
        self.status: Object = {}  # what it will write: `newStatus`
        self.weights = (rollout["status"].get("canary") or {}).get("weights")
        self.run_status: Object | None = None
        self.aborts, self.forgives, self.abort_message = False, False, ""  # rollout/pause.go:14-25
        self.pauses: list[str] = []
        self.ends_pause = self.ends_all_pauses = False

    def _find_replica_sets(self) -> None:
        """rollout/controller.go:511-594, utils/replicaset/replicaset.go:34-70."""
        owned = [one for one in self.store.all("ReplicaSet") if _owned(one, self.rollout)]
        self.all = sorted(owned, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
        template = _comparable(self.rollout["spec"]["template"])
        self.new = next((one for one in self.all if _comparable(one["spec"]["template"]) == template), None)
        if self.new is None:
            self.new = self._create()
            self.all.append(self.new)
        stable = self.rollout["status"].get("stableRS", "")
        self.stable = next((one for one in self.all if stable and hash_of(one) == stable), None)
        self.older = [one for one in self.all if one is not self.new]
        self.others = [one for one in self.all if one is not self.new and one is not self.stable]

    def _create(self) -> Object:
        """rollout/sync.go:140-262."""
        metadata, spec = self.rollout["metadata"], self.rollout["spec"]
        template = copied(spec["template"])
        found = sha256(json.dumps(_comparable(template), sort_keys=True).encode()).hexdigest()[:10]
        labels = {**template["metadata"].get("labels", {}), HASH: found}
        template["metadata"]["labels"] = labels
        number = max([revision(one) for one in self.all], default=0) + 1
        annotations = _annotations(metadata) | {REVISION: str(number), replicas.DESIRED: str(spec["replicas"])}
        selector = {**spec["selector"]["matchLabels"], HASH: found}
        made = self.store.write(
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{metadata['name']}-{found}",
                    "namespace": metadata["namespace"],
                    "labels": labels,
                    "annotations": annotations,
                    "creationTimestamp": self.now,
                    "ownerReferences": [reference(self.rollout)],
                },
                "spec": {"replicas": 0, "selector": {"matchLabels": selector}, "template": template}
                | ({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
                "status": {},
            },
            MANAGER,
        )
        self._set_revision(str(number))
        words = f'Created new replica set "{made["metadata"]["name"]}"'
        new = conditions.condition(self.now, "Progressing", "True", "NewReplicaSetCreated", words)
        conditions.put(self.rollout["status"], new)
        self._write_status(self.rollout["status"])
        return made

    def _set_revision(self, number: str) -> None:
        """rollout/sync.go:119-138."""
        annotations = self.rollout["metadata"].setdefault("annotations", {})
        if annotations.get(REVISION) != number:
            annotations[REVISION] = number
            live = self._live()
            live["metadata"].setdefault("annotations", {})[REVISION] = number
            self.store.write(live, MANAGER)

    def _sync_revision(self) -> None:
        """rollout/sync.go:57-117, utils/annotations/annotations.go:166-217."""
        assert self.new is not None
        number = max([revision(one) for one in self.older], default=0) + 1
        new = copied(self.new)
        annotations = new["metadata"]["annotations"]
        before = dict(annotations)
        annotations |= _annotations(self.rollout["metadata"])
        if revision(new) < number:
            annotations[REVISION] = str(number)
        if annotations != before:
            known = [*filter(None, before.get(_HISTORY, "").split(",")), before[REVISION]]
            annotations[_HISTORY] = ",".join(known)
            self._replace(self.new, self.store.write(new, MANAGER))
            return
        self._set_revision(annotations[REVISION])

    def _replace(self, old: Object, new: Object) -> None:
        self.all = [new if one is old else one for one in self.all]
        self.stable = new if self.stable is old else self.stable
        self.new = new if self.new is old else self.new

    def _promoted(self) -> bool:
        status = self.rollout["status"]
        return bool(status.get("stableRS", "") == status.get("currentPodHash", ""))

    def _aborted(self) -> bool:
        """rollout/pause.go:31-39."""
        return not self.forgives and (self.aborts or bool(self.rollout["status"].get("abort")))

    def _changed(self) -> bool:
        """utils/replicaset/replicaset.go:463-504: the steps or the template."""
        status = self.rollout["status"]
        if status.get("currentStepHash", "") != self._step_hash():
            return True
        current = status.get("currentPodHash", "")
        return bool(current) and current != hash_of(self.new)

    def _step_hash(self) -> str:
        return sha256(json.dumps(self.canary["steps"]).encode()).hexdigest()[:9]

    def _within_window(self) -> bool:
        """rollout/sync.go:905-935: back to an older ReplicaSet, with fewer than so many between."""
        window = int((self.rollout["spec"].get("rollbackWindow") or {}).get("revisions", 0))
        if self.new is None or self.stable is None or not window:
            return False
        first, last = self.new["metadata"]["creationTimestamp"], self.stable["metadata"]["creationTimestamp"]
        return first < last and sum(first < one["metadata"]["creationTimestamp"] < last for one in self.all) < window

    def _pause_of(self, reason: str) -> Object | None:
        return next(
            (one for one in self.rollout["status"].get("pauseConditions") or () if one["reason"] == reason), None
        )

    def _current_run(self) -> Object | None:
        """utils/analysis/filter.go:27-58."""
        known = (self.rollout["status"].get("canary") or {}).get("currentStepAnalysisRunStatus") or {}
        return next((one for one in self.runs if one["metadata"]["name"] == known.get("name")), None)

    def _other_runs(self) -> list[Object]:
        return [one for one in self.runs if one is not self._current_run()]

    def _persist(self, status: Object) -> None:
        """rollout/sync.go:743-787, rollout/pause.go:61-125."""
        old = self.rollout["status"]
        for key in ("abort", "abortedAt", "pauseConditions", "controllerPause"):
            status.pop(key, None)
        if self._aborted():
            status |= {"abort": True, "abortedAt": old.get("abortedAt") or self.now}
        elif not self.ends_all_pauses:
            known = [
                one
                for one in old.get("pauseConditions") or ()
                if not (self.ends_pause and one["reason"] == "CanaryPauseStep")
            ]
            reasons = {one["reason"] for one in old.get("pauseConditions") or ()}
            new = [{"reason": one, "startTime": self.now} for one in self.pauses if one not in reasons]
            if known or new:
                paused = bool(new) or bool(old.get("controllerPause"))
                status |= {"pauseConditions": [*known, *new], "controllerPause": paused}
        status["observedGeneration"] = str(self.rollout["metadata"]["generation"])
        status["phase"], status["message"] = conditions.phase(self.rollout, status)
        self._write_status(status, old)

    def _patch_conditions(self, status: Object, *new: Object) -> None:
        """rollout/sync.go:529-561."""
        for one in new:
            conditions.put(status, one)
        status["observedGeneration"] = str(self.rollout["metadata"]["generation"])
        status["phase"], status["message"] = conditions.phase(self.rollout, status)
        self._write_status(status, self.rollout["status"])

    def _live(self) -> Object:
        live = self.store.find("Rollout", self.rollout["metadata"]["name"])
        assert live is not None
        return live

    def _write_status(self, status: Object, old: Object | None = None) -> None:
        """A merge patch of what differs from what was read: what somebody wrote meanwhile stays, where it does not."""
        live = self._live()
        clean = {key: one for key, one in status.items() if one or key in ("currentStepIndex", "canary", "blueGreen")}
        known = live.get("status", {}) if old is None else old
        now = dict(live.get("status", {}))
        for key in {*clean, *known}:
            if clean.get(key) != known.get(key):
                now[key] = clean.get(key)
        now = {key: one for key, one in now.items() if one is not None}
        if now != live.get("status"):
            self.store.write({**live, "status": now}, MANAGER)


def pause_end(pause: Object, duration: Any) -> datetime:
    units = {"s": 1, "m": 60, "h": 3600}
    text = str(duration)
    seconds = int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)
    return datetime.fromisoformat(pause["startTime"]) + timedelta(seconds=seconds)


def _comparable(template: Object) -> Object:
    """utils/replicaset/replicaset.go:525-547: with its defaults, and without the hash."""
    found = defaulted(template)
    found["metadata"].get("labels", {}).pop(HASH, None)
    found["metadata"] = {key: one for key, one in found["metadata"].items() if one}
    return found


def _annotations(metadata: Object) -> dict[str, str]:
    """utils/annotations/annotations.go:235-250."""
    return {key: one for key, one in (metadata.get("annotations") or {}).items() if key not in _NOT_COPIED}


def _owned(document: Object, rollout: Object) -> bool:
    owners = document["metadata"].get("ownerReferences") or ()
    return rollout["metadata"]["uid"] in [one["uid"] for one in owners]


def reference(rollout: Object) -> Object:
    found = {key: rollout["metadata"][key] for key in ("name", "uid")}
    about = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "controller": True, "blockOwnerDeletion": True}
    return {**about, **found}
