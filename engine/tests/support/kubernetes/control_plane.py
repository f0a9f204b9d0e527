"""The controllers beside a stub API server: ReplicaSets, pods, Jobs and analyses, Argo Rollouts, and a clock.

Nothing here waits: each look at a Rollout or a Job through the API is one turn of every controller, so whoever watches
sees every state. When no controller has anything to do, the clock goes on to the next moment at which one has.

ReplicaSets and Jobs as in Kubernetes 1.34 (pkg/controller/replicaset/replica_set.go, the quota's words as recorded from
it), AnalysisRuns after Argo Rollouts 1.9.1 (analysis/analysis.go, metricproviders/job/job.go). Who plays the nodes is
`Nodes`: there are none, pods are marked and Jobs end as the test says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from support.kubernetes import argo_conditions as conditions
from support.kubernetes import argo_replicas as replicas
from support.kubernetes import argo_rollouts
from support.kubernetes.api_server import KubeApi
from support.kubernetes.argo_context import MANAGER, pause_end, stamp
from support.kubernetes.field_ownership import copied

Object = dict[str, Any]
_BAD = ("Failed", "Error", "Inconclusive")
_LABEL = "app.kubernetes.io/version"


@dataclass
class Nodes:
    """What becomes of pods and Jobs.

    `verdicts`: how a judge's metric or a Job ends, by its name; else it passes. `values`, `logs`: what it measured
    and wrote. `dead`: releases whose pods run and are not ready; `waiting`: what a container of theirs waits for, by
    release. An image whose name ends with `absent` is not there to pull."""

    verdicts: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    waiting: dict[str, Object] = field(default_factory=dict)

    def pod_status(self, pod: Object) -> Object:
        """The status that its node reports."""
        spec = pod["spec"]["containers"][0]
        absent = spec.get("image", "").partition("@")[0].endswith("absent")
        release = pod["metadata"].get("labels", {}).get(_LABEL, "")
        dead = release in self.dead or release in self.waiting
        state: Object = {"waiting": self.waiting[release]} if release in self.waiting else {"running": {}}
        if absent:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{spec["image"]}"'}}
        ready = not absent and not dead
        container = {"name": spec["name"], "image": spec.get("image", ""), "imageID": "", "ready": ready}
        return {
            "phase": "Pending" if absent else "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{**container, "restartCount": 0, "state": state}],
        }

    def job_ends(self, job: Object) -> str:
        """`Complete` or `Failed`."""
        failed = any(
            f".{metric}." in f".{job['metadata']['name']}." and verdict in _BAD
            for metric, verdict in self.verdicts.items()
        )
        return "Failed" if failed else "Complete"


class ControlPlane:
    """Every controller of one API server.

    `fixed`: the clock stands still and goes on only when it is moved. `marked`: others mark pods through the API, as
    `marked_pods.py` does; the clock waits for them."""

    POD_SECONDS, JOB_SECONDS = 1, 3

    def __init__(self, api: KubeApi, nodes: Nodes | None = None) -> None:
        self.api, self.nodes = api, nodes or Nodes()
        self.fixed = self.marked = False
        self.ready_since: dict[str, datetime] = {}  # of pods, by their names
        api.controllers = self.turn

    def turn(self, *, still: bool = False) -> bool:
        """One turn of each controller; where none has anything to do, at the next moment at which one has.

        Args:
            still: The clock does not go on.

        Returns:
            Whether anything moved.
        """
        with self.api.lock:
            while not self._work():
                end = min((one for one in self._everywhere(self._moments) if one > self.api.now), default=None)
                if end is None or still or self.fixed or (self.marked and self._everywhere(self._unmarked)):
                    return False
                self.api.now = end
            return True

    def hurry(self, turns: int) -> None:
        """So many turns for each look, for a command that looks once a second: it misses states that last no time.

        The clock goes on at most once a look, since a state that lasts seconds is seen by whoever looks each second."""

        def look() -> bool:
            moved = self.turn()
            for _ in range(turns - 1):
                if not self.turn(still=True):
                    break  # nor would the next move anything
            return moved

        self.api.controllers = look

    def _everywhere(self, ask: Callable[[], Iterable[Any]]) -> list[Any]:
        """What is answered in each namespace."""
        found: list[Any] = []
        for namespace in self.api.namespaces:
            with self.api.inside(namespace):
                found += ask()
        return found

    def settle(self, turns: int = 200) -> None:
        """Until nothing moves any more without the clock."""
        with self.api.lock:
            for _ in range(turns):
                if not self._work():
                    return
        raise AssertionError("the controllers never come to rest")

    def move(self, **time: float) -> None:
        """The clock, and nothing else."""
        self.api.now += timedelta(**time)

    def _work(self) -> bool:
        before = dict(self.api.objects)
        self._everywhere(self._act)
        after = self.api.objects
        # A selector that goes to and fro within one turn is no change, though it is written twice.
        return any(_plain(before.get(path)) != _plain(after.get(path)) for path in before.keys() | after.keys())

    def _act(self) -> Iterable[Any]:
        self._mark_pods()
        self._end_jobs()
        for run in self.api.all("AnalysisRun"):
            if run.get("status", {}).get("phase") not in ("Successful", *_BAD):
                _Analysis(self, run).turn()
        for one in self.api.all("ReplicaSet"):
            self._scale(one)
        for one in self.api.all("Rollout"):
            try:
                argo_rollouts.reconcile(self.api, one["metadata"]["name"])
            except LookupError as error:
                self.api.events.append(f"TrafficRoutingError: {error}")
        return ()

    def _unmarked(self) -> list[Object]:
        return [pod for pod in self.api.all("Pod") if "containerStatuses" not in pod["status"]]

    def _moments(self) -> Iterator[datetime]:
        """When a controller has asked to be called again."""
        for pod in self._unmarked():
            yield _made(pod) + timedelta(seconds=self.POD_SECONDS)
        for job in self.api.all("Job"):
            if not _ended(job):
                yield _made(job) + timedelta(seconds=self.JOB_SECONDS)
        for run in self.api.all("AnalysisRun"):
            if run.get("status", {}).get("phase") == "Running":
                yield datetime.fromisoformat(run["status"]["startedAt"]) + timedelta(seconds=self.JOB_SECONDS)
        for one in self.api.all("ReplicaSet"):
            if end := replicas.deadline(one):
                yield datetime.fromisoformat(end)
            if one["spec"].get("minReadySeconds"):
                pods = [pod for pod in self.api.all("Pod") if _owner(pod) == one["metadata"]["uid"]]
                yield from self._available_from(one, pods)
        for rollout in self.api.all("Rollout"):
            yield from self._moments_of(rollout)

    def _moments_of(self, rollout: Object) -> Iterator[datetime]:
        """rollout/pause.go:189-202, rollout/sync.go:815-851."""
        status = rollout.get("status", {})
        if rollout["spec"].get("paused") or status.get("abort"):
            return
        canary = "canary" in rollout["spec"]["strategy"]
        step = replicas.current_step({**rollout, "status": status})[0] if canary else None
        for pause in status.get("pauseConditions") or ():
            if step and "duration" in (step.get("pause") or {}):
                yield pause_end(pause, step["pause"]["duration"]) + timedelta(seconds=1)
        known = (conditions.find(status, "Progressing") or {}).get("reason")
        over = known == "ProgressDeadlineExceeded" or conditions.healthy({**rollout, "status": status}, status)
        if not over and not status.get("pauseConditions") and not conditions.indefinite({**rollout, "status": status}):
            end = conditions.deadline_of(rollout, status)
            yield from [end + timedelta(seconds=1)] if end else []

    def _mark_pods(self) -> None:
        for pod in () if self.marked else self.api.all("Pod"):
            if "batch.kubernetes.io/job-name" in pod["metadata"].get("labels", {}):
                continue
            if self.api.now < _made(pod) + timedelta(seconds=self.POD_SECONDS):
                continue
            status = self.nodes.pod_status(pod)
            if pod.get("status") != status:
                self.api.write({**pod, "status": status}, "kubelet")
                return  # one after the other

    def _end_jobs(self) -> None:
        for job in self.api.all("Job"):
            if _ended(job) or self.api.now < _made(job) + timedelta(seconds=self.JOB_SECONDS):
                continue
            if end := self._end_of_pods(job) if self.marked else self.nodes.job_ends(job):
                ends = {"type": end, "status": "True", "message": ""}
                self.api.write({**job, "status": {"conditions": [ends]}}, "kube-controller-manager")

    def _end_of_pods(self, job: Object) -> str:
        """pkg/controller/job/job_controller.go, as far as a Job of one pod without a second try needs it."""
        phases = [pod["status"]["phase"] for pod in self.api.all("Pod") if _owner(pod) == job["metadata"]["uid"]]
        return {"Succeeded": "Complete", "Failed": "Failed"}.get(phases[0], "") if phases else ""

    def _scale(self, one: Object) -> None:
        """Pods as a ReplicaSet asks for, as far as quotas let it."""
        name, wanted = one["metadata"]["name"], replicas.scale(one)
        pods = [pod for pod in self.api.all("Pod") if _owner(pod) == one["metadata"]["uid"]]
        for pod in pods[wanted:]:
            self.api.delete("Pod", pod["metadata"]["name"])
        refused = ""
        for _ in range(wanted - len(pods)):
            pod = self._pod(one)
            if refused := self._over_quota(pod):
                break
            self.api.write(pod, "kube-controller-manager")
        pods = [pod for pod in self.api.all("Pod") if _owner(pod) == one["metadata"]["uid"]]
        ready = sum(_ready(pod) for pod in pods)
        known = next((c for c in one["status"].get("conditions") or () if c["type"] == "ReplicaFailure"), None)
        up = sum(end <= self.api.now for end in self._available_from(one, pods))
        status: Object = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": up}
        status = {key: count for key, count in status.items() if count} | {"replicas": len(pods)}
        if refused:
            failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
            failure["lastTransitionTime"] = stamp(self.api.now)
            status["conditions"] = [known or failure]
        if one["status"] != status:
            live = self.api.find("ReplicaSet", name)
            assert live is not None
            self.api.write({**live, "status": status}, "kube-controller-manager")

    def _available_from(self, one: Object, pods: list[Object]) -> list[datetime]:
        """When each of the pods that are ready counts as available: pkg/api/v1/pod/util.go, IsPodAvailable."""
        for pod in pods:
            if _ready(pod):
                self.ready_since.setdefault(pod["metadata"]["name"], self.api.now)
            else:
                self.ready_since.pop(pod["metadata"]["name"], None)
        least = timedelta(seconds=int(one["spec"].get("minReadySeconds") or 0))
        names = [pod["metadata"]["name"] for pod in pods]
        return [self.ready_since[name] + least for name in names if name in self.ready_since]

    def _pod(self, one: Object) -> Object:
        template = one["spec"]["template"]
        self.api.counted += 1
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": one["metadata"]["name"], "controller": True}
        metadata = {
            "name": f"{one['metadata']['name']}-{self.api.counted:05d}",
            "namespace": one["metadata"]["namespace"],
            "labels": template["metadata"].get("labels", {}),
            "creationTimestamp": stamp(self.api.now),
            "ownerReferences": [{**owner, "uid": one["metadata"]["uid"]}],
        }
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template["spec"])}
        return {**made, "status": {"phase": "Pending"}}

    def _over_quota(self, pod: Object) -> str:
        """Words as recorded from Kubernetes 1.34."""
        used = len([one for one in self.api.all("Pod") if "job-name" not in str(one["metadata"].get("labels"))])
        for quota in self.api.all("ResourceQuota"):
            most = int(quota["spec"]["hard"]["pods"])
            if used >= most:
                name, amounts = quota["metadata"]["name"], f"requested: pods=1, used: pods={used}, limited: pods={most}"
                return f'pods "{pod["metadata"]["name"]}" is forbidden: exceeded quota: {name}, {amounts}'
        return ""


class _Analysis:
    """One turn of an AnalysisRun (analysis/analysis.go): a measurement of each metric, by a Job or told by the test."""

    def __init__(self, plane: ControlPlane, run: Object) -> None:
        self.api, self.nodes, self.plane, self.run = plane.api, plane.nodes, plane, run
        self.now = stamp(self.api.now)

    def turn(self) -> None:
        status = copied(self.run.get("status", {}))
        results = {one["name"]: one for one in status.get("metricResults") or ()}
        # utils/analysis/helpers.go:84-101
        ending = bool(self.run["spec"].get("terminate")) or any(one["phase"] in _BAD for one in results.values())
        for metric in self.run["spec"]["metrics"]:
            if metric["name"] not in results:
                if not ending:
                    results[metric["name"]] = self._begin(metric)
            elif results[metric["name"]]["phase"] == "Running":
                self._measure(results[metric["name"]], metric, ending=ending)
        status["metricResults"] = list(results.values())
        status.setdefault("startedAt", self.now)
        status["phase"], message = self._phase(list(results.values()), ending=ending)
        status |= {"message": message} if message else {}
        self.api.write({**self.run, "status": status}, MANAGER)

    def _begin(self, metric: Object) -> Object:
        measurement: Object = {"phase": "Running", "startedAt": self.now}
        if "job" in metric["provider"]:
            measurement["metadata"] = {"job-name": self._job(metric), "job-namespace": self.api.namespace}
        return {"name": metric["name"], "phase": "Running", "measurements": [measurement]}

    def _job(self, metric: Object) -> str:
        """metricproviders/job/job.go:76-105."""
        uid, job = self.run["metadata"]["uid"], metric["provider"]["job"]
        name = f"{uid}.{metric['name']}.1"[-63:]
        about = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "name": self.run["metadata"]["name"]}
        metadata = {
            "name": name,
            "namespace": self.api.namespace,
            "labels": {"analysisrun.argoproj.io/uid": uid},
            "creationTimestamp": self.now,
            "ownerReferences": [{**about, "uid": uid, "controller": True}],
        }
        made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job["spec"], "status": {}}
        made = self.api.write(made, MANAGER)
        labels = {"batch.kubernetes.io/job-name": name}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": made["metadata"]["uid"]}
        pod = {**metadata, "name": f"{name}-0", "labels": labels, "ownerReferences": [owner]}
        spec = job["spec"]["template"]["spec"]
        self.api.write(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": pod,
                "spec": spec,
                "status": {"phase": "Pending"} if self.plane.marked else {"phase": "Running", "containerStatuses": []},
            },
            "kubelet",
        )
        if metric["name"] in self.nodes.logs:
            self.api.logs[pod["name"]] = self.nodes.logs[metric["name"]]
        return name

    def _measure(self, result: Object, metric: Object, *, ending: bool) -> None:
        """analysis/analysis.go:350-368, metricproviders/job/job.go:180-228."""
        measurement = result["measurements"][-1]
        name = (measurement.get("metadata") or {}).get("job-name")
        phase = self._measured(measurement, metric, name)
        if ending:
            phase, measurement["message"] = "Successful", "Metric Terminated"
            if name:
                with contextlib.suppress(KeyError):
                    self.api.delete("Job", name)
        if phase:
            measurement |= {"phase": phase, "finishedAt": self.now}
            if value := self.nodes.values.get(metric["name"]):
                measurement["value"] = value
            result |= {"phase": phase, "count": 1, phase.lower(): 1}

    def _measured(self, measurement: Object, metric: Object, job: str | None) -> str:
        if job is None:
            end = datetime.fromisoformat(measurement["startedAt"]) + timedelta(seconds=self.plane.JOB_SECONDS)
            return self.nodes.verdicts.get(metric["name"], "Successful") if self.api.now >= end else ""
        ended = _ended(self.api.find("Job", job) or {})
        return {"Complete": "Successful", "Failed": "Failed", "": ""}[ended]

    def _phase(self, results: list[Object], *, ending: bool) -> tuple[str, str]:
        """analysis/analysis.go:436-575: the worst of its metrics, once all have ended."""
        done = all(one["phase"] != "Running" for one in results)
        if not done or (len(results) < len(self.run["spec"]["metrics"]) and not ending):
            return "Running", ""
        for phase in ("Failed", "Error", "Inconclusive"):
            for one in results:
                if one["phase"] == phase:
                    limit = (
                        "consecutiveErrorLimit" if phase == "Error" else f"{phase.lower()}Limit".replace("ed", "ure")
                    )
                    words = f'Metric "{one["name"]}" assessed {phase} due to {phase.lower()} (1) > {limit} (0)'
                    return phase, words
        return "Successful", "Run Terminated" if self.run["spec"].get("terminate") else ""


def _made(document: Object) -> datetime:
    return datetime.fromisoformat(document["metadata"]["creationTimestamp"])


def _ended(job: Object) -> str:
    return next((str(one["type"]) for one in job.get("status", {}).get("conditions") or ()), "")


def _ready(pod: Object) -> bool:
    return any(one["status"] == "True" for one in (pod.get("status") or {}).get("conditions") or ())


def _owner(document: Object) -> str:
    return next((str(one["uid"]) for one in document["metadata"].get("ownerReferences") or ()), "")


def _plain(document: Object | None) -> Object:
    """Without what every write changes."""
    metadata = {key: one for key, one in (document or {}).get("metadata", {}).items() if key != "resourceVersion"}
    return {**(document or {}), "metadata": metadata}
