"""Reads status values out of Rollout, AnalysisRun and Pod objects; omitted fields are None or empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sluice.rollout.analysis_templates import parse_duration

Object = Mapping[str, Any]

# The release that a pod template belongs to. A label of its pods too, so that `kubectl get pods -L` shows it.
RELEASE_LABEL = "app.kubernetes.io/version"
HASH_LABEL = "rollouts-pod-template-hash"
# A digest of the pod template that `sluice deploy` applied, on the template itself: the API server and the controller
# fill templates with defaults, so this alone tells which ReplicaSet belongs to which deployment.
TEMPLATE_ANNOTATION = "sluice/template"
BAD_PHASES = ("Failed", "Error", "Inconclusive")
ENDED = frozenset({"Successful", *BAD_PHASES})
# Why a container waits when it will not start by waiting longer alone.
_REASONS = (
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
)  # fmt: skip
# On a ReplicaSet whose pods go at that time.
SCALE_DOWN_DEADLINE = "scale-down-deadline"
_ARG = re.compile(r"\{\{\s*args\.([\w.-]+)\s*\}\}")


@dataclass(frozen=True)
class RolloutStatus:
    """The status of a Rollout. `weight` is the canary's percent; `step` counts from 0, len(steps) after the last."""

    name: str = ""
    uid: str = ""
    generation: int = 0
    observed: bool = False  # the controller has seen this generation; before, its status is about another spec
    release: str = ""
    phase: str = ""
    message: str = ""
    aborted: bool = False
    current: str = ""
    stable: str = ""
    steps: tuple[str, ...] = ()
    step: int | None = None
    weight: int | None = None
    pauses: tuple[str, ...] = ()
    conditions: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # type: (status, message)
    template: str = ""  # see `template_key`
    paused: bool = False  # `spec.paused`: by a person
    blue_green: bool = False

    @property
    def first(self) -> bool:
        return not self.stable

    @property
    def invalid(self) -> str:
        """The controller's reason to refuse the spec, or empty."""
        return self._holds("InvalidSpec")

    @property
    def refused(self) -> str:
        """The reason, such as a quota, for which the cluster makes no pods, or empty."""
        why = self._holds("ReplicaFailure")
        return f"the cluster makes no pods for it: {why}" if why else ""

    def _holds(self, condition: str) -> str:
        status, message = self.conditions.get(condition, ("", ""))
        return message or "no reason is given" if status == "True" else ""


@dataclass(frozen=True)
class MetricResult:
    """A metric of an analysis, with the last measured value and its limit."""

    name: str
    phase: str
    message: str
    value: str
    limit: str
    job: str
    counts: str


@dataclass(frozen=True)
class RunStatus:
    """The status of an AnalysisRun. `owner` is the uid of a Rollout, or the name of a ReplicaSet or Experiment."""

    name: str
    owner: str
    template_hash: str
    phase: str
    message: str
    metrics: tuple[MetricResult, ...]

    @property
    def bad(self) -> tuple[MetricResult, ...]:
        return tuple(one for one in self.metrics if one.phase in BAD_PHASES)


@dataclass(frozen=True)
class PodStatus:
    name: str
    template_hash: str
    phase: str
    ready: bool
    problem: str  # why it does not start, empty when nothing is known to be wrong
    stuck: bool  # a problem that waiting alone does not fix; for a node it waits as long as the rollout may take
    restarts: int


@dataclass(frozen=True)
class ReplicaSetStatus:
    template_hash: str
    template: str
    replicas: int
    available: int
    leaving: bool


@dataclass(frozen=True)
class RolloutSnapshot:
    """One moment: runs and pods by name, ReplicaSets by template hash, and runs that ended before this deployment.

    Before the first look, all of it is empty."""

    rollout: RolloutStatus = RolloutStatus()
    runs: Mapping[str, RunStatus] = field(default_factory=dict)
    pods: Mapping[str, PodStatus] = field(default_factory=dict)
    replica_sets: Mapping[str, ReplicaSetStatus] = field(default_factory=dict)
    earlier: frozenset[str] = frozenset()

    @property
    def begun(self) -> bool:
        """Check that the status is about the pod template that the spec has now.

        `observedGeneration` isn't enough: the controller can publish the previous template's status under the new
        generation (1.9.1, rollout/context.go:58-65, rollout/sync.go:272-313, 532)."""
        current = self.replica_sets.get(self.rollout.current)
        return self.rollout.observed and current is not None and current.template == self.rollout.template

    @property
    def own_runs(self) -> list[RunStatus]:
        """The analyses of the current pod template that began for this deployment."""
        rollout, found = self.rollout, []
        for run in self.runs.values():
            if run.name in self.earlier:
                continue
            # Those of an experiment or a ReplicaSet have the name of the template in that of their owner.
            by_name = f"{run.owner}-".startswith(f"{rollout.name}-{rollout.current}-")
            own = run.template_hash == rollout.current if run.owner == rollout.uid else by_name
            found += [run] if own else []
        return found


def template_key(template: Object) -> str:
    """Return the annotation that identifies a deployment's pod template, else its release."""
    metadata = template.get("metadata") or {}
    annotated = (metadata.get("annotations") or {}).get(TEMPLATE_ANNOTATION)
    return str(annotated or (metadata.get("labels") or {}).get(RELEASE_LABEL, ""))


def read_rollout(document: Object) -> RolloutStatus:
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    generation = int(metadata.get("generation", 0))
    template = (spec.get("template") or {}).get("metadata") or {}
    weights = (status.get("canary") or {}).get("weights") or {}
    conditions = {
        str(one["type"]): (str(one["status"]), str(one.get("message", ""))) for one in status.get("conditions") or ()
    }
    return RolloutStatus(
        name=str(metadata["name"]),
        uid=str(metadata.get("uid", "")),
        generation=generation,
        observed=str(status.get("observedGeneration", "")) == str(generation),
        release=str((template.get("labels") or {}).get(RELEASE_LABEL, "")),
        phase=str(status.get("phase", "")),
        message=str(status.get("message", "")) + _pause_end(spec, status),
        aborted=bool(status.get("abort")),
        current=str(status.get("currentPodHash", "")),
        stable=str(status.get("stableRS", "")),
        steps=tuple(_step(one) for one in ((spec.get("strategy") or {}).get("canary") or {}).get("steps") or ()),
        step=status.get("currentStepIndex"),
        weight=(weights.get("canary") or {}).get("weight"),
        pauses=tuple(str(one["reason"]) for one in status.get("pauseConditions") or ()),
        conditions=conditions,
        template=template_key(spec.get("template") or {}),
        paused=bool(spec.get("paused")),
        blue_green="blueGreen" in (spec.get("strategy") or {}),
    )


def _pause_end(spec: Object, status: Object) -> str:
    """Return when the pause of the current step ends, as a local time."""
    with suppress(LookupError, TypeError, ValueError):  # no such step, none with a duration, or one of `1.5h`
        pause = spec["strategy"]["canary"]["steps"][status["currentStepIndex"]]["pause"]
        (began,) = (one["startTime"] for one in status["pauseConditions"] if one["reason"] == "CanaryPauseStep")
        end = datetime.fromisoformat(began) + timedelta(seconds=parse_duration(pause["duration"]))
        return f", until {end.astimezone():%H:%M:%S}"
    return ""


def read_replica_set(document: Object) -> ReplicaSetStatus:
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    return ReplicaSetStatus(
        template_hash=str((metadata.get("labels") or {}).get(HASH_LABEL, "")),
        template=template_key(spec.get("template") or {}),
        replicas=int(status.get("replicas") or 0),
        available=int(status.get("availableReplicas") or 0),
        leaving=SCALE_DOWN_DEADLINE in (metadata.get("annotations") or {}),
    )


def _step(step: Object) -> str:
    kind, value = next(iter(step.items()), ("", None))
    if kind == "pause":
        return f"pause {value['duration']}" if value and "duration" in value else "pause until a person goes on"
    if kind in ("analysis", "experiment"):
        names = [str(one.get("templateName", one.get("name"))) for one in (value or {}).get("templates") or ()]
        return f"{kind} {', '.join(names)}"
    return f"{kind} {value}" if isinstance(value, (int, str)) else str(kind)


def read_run(document: Object) -> RunStatus:
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    arguments = {str(one["name"]): str(one.get("value", "")) for one in spec.get("args") or ()}
    metrics = {str(one["name"]): one for one in spec.get("metrics") or ()}
    owners = [
        str(one.get("uid" if one.get("kind") == "Rollout" else "name", ""))
        for one in metadata.get("ownerReferences") or ()
    ]
    return RunStatus(
        name=str(metadata["name"]),
        owner=next(iter(owners), ""),
        template_hash=str((metadata.get("labels") or {}).get(HASH_LABEL, "")),
        phase=str(status.get("phase", "Pending")),
        message=str(status.get("message", "")),
        metrics=tuple(
            _metric(one, metrics.get(str(one["name"]), {}), arguments) for one in status.get("metricResults") or ()
        ),
    )


def _metric(result: Object, metric: Object, arguments: Mapping[str, str]) -> MetricResult:
    # A run goes on measuring after the first bad value where its limit of failures allows it: the last one decides.
    measured = list(result.get("measurements") or ())
    phase = str(result["phase"])
    deciding = next((one for one in reversed(measured) if one["phase"] == phase), measured[-1] if measured else {})
    counts = [f"{result[key]} {key}" for key in ("successful", "failed", "inconclusive", "error") if result.get(key)]
    return MetricResult(
        name=str(result["name"]),
        phase=phase,
        message=str(result.get("message") or deciding.get("message") or ""),
        value=str(deciding.get("value", "")),
        limit=_limit(metric, arguments),
        job=str((deciding.get("metadata") or {}).get("job-name", "")),
        counts=", ".join(counts),
    )


def _limit(metric: Object, arguments: Mapping[str, str]) -> str:
    """Return the conditions of a metric with its arguments filled in."""
    parts = []
    if success := metric.get("successCondition"):
        parts.append(str(success))
    if failure := metric.get("failureCondition"):
        parts.append(f"not ({failure})")
    if not parts and "job" in (metric.get("provider") or {}):
        parts.append("the Job succeeds")
    text = " and ".join(parts)
    return " ".join(_ARG.sub(lambda found: arguments.get(found[1], found[0]), text).split())


def read_pod(document: Object) -> PodStatus:
    metadata, status = document["metadata"], document.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    conditions = {str(one["type"]): one for one in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    problem = stuck = _stuck(containers)
    if not stuck and scheduled.get("status") == "False":
        problem = f"{scheduled.get('reason', 'not scheduled')}: {scheduled.get('message', '')}".strip()
    return PodStatus(
        name=str(metadata["name"]),
        template_hash=str((metadata.get("labels") or {}).get(HASH_LABEL, "")),
        phase="Terminating" if metadata.get("deletionTimestamp") else str(status.get("phase", "")),
        ready=conditions.get("Ready", {}).get("status") == "True",
        problem=problem,
        stuck=bool(stuck),
        restarts=sum(int(one.get("restartCount", 0)) for one in containers),
    )


def _stuck(containers: list[Object]) -> str:
    for one in containers:
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _REASONS:
            return f"{waiting['reason']}: {waiting.get('message') or one.get('image', '')}".strip()
    return ""
