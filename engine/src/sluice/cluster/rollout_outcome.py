"""The changes and the outcome of a rollout, from snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sluice.cluster.rollout_status import BAD_PHASES, MetricResult, PodStatus, RolloutSnapshot, RolloutStatus, RunStatus


@dataclass(frozen=True)
class RolloutOutcome:
    """The outcome, with reasons and the Jobs whose logs say more. `inconclusive`: an analysis couldn't decide.
    `replaced`: another release was deployed over it."""

    kind: Literal["promoted", "stopped", "failed", "inconclusive", "replaced"]
    reasons: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def outcome(picture: RolloutSnapshot, *, template: str = "") -> RolloutOutcome | None:
    """Return how the deployment of a pod template ended, or None while it goes on."""
    rollout = picture.rollout
    if template and rollout.template != template:
        other = rollout.release or "another pod template"
        return RolloutOutcome("replaced", (f"{other} was deployed over it, before it had ended",))
    if rollout.observed and rollout.invalid:
        return RolloutOutcome("failed", (f"the controller refuses the Rollout: {rollout.invalid}",))
    if not picture.begun:
        return None
    if rollout.phase == "Healthy" and rollout.stable and rollout.stable == rollout.current:
        return RolloutOutcome("promoted")
    if rollout.aborted:
        return RolloutOutcome("stopped", *reasons(picture))
    if "InconclusiveAnalysisRun" in rollout.pauses:
        return RolloutOutcome("inconclusive", *reasons(picture))
    if rollout.phase == "Degraded":
        return RolloutOutcome("failed", *reasons(picture))
    return None


def waits_for_a_person(rollout: RolloutStatus) -> bool:
    if "CanaryPauseStep" not in rollout.pauses or rollout.step is None or rollout.step >= len(rollout.steps):
        return False
    return rollout.steps[rollout.step] == "pause until a person goes on"


def reasons(picture: RolloutSnapshot) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the analyses say and their Jobs; without them, what the controller and the pods say."""
    lines: list[str] = []
    jobs: list[str] = []
    for run in picture.own_runs:
        lines += [f"{run.name}: {describe(metric)}" for metric in run.bad]
        jobs += [metric.job for metric in run.bad if metric.job]
        if not run.bad and run.phase in BAD_PHASES:
            lines.append(f"{run.name}: {run.phase}, {run.message}")
    rollout = picture.rollout
    if rollout.refused:
        lines.append(rollout.refused)
    if silent := not lines:  # a moment after a deadline the controller says that it aborted, and no more why
        _, progress = rollout.conditions.get("Progressing", ("", "the controller gives no reason"))
        lines.append(rollout.message or progress)
    lines += [
        f"pod {pod.name}: {pod.problem or f'{pod.phase}, not ready'}"
        for pod in picture.pods.values()
        if pod.template_hash == rollout.current and (pod.problem or (silent and not pod.ready))
    ]
    return tuple(lines), tuple(dict.fromkeys(jobs))


def changes(before: RolloutSnapshot, after: RolloutSnapshot) -> list[str]:
    """Return a line for each change."""
    lines: list[str] = []
    if after.begun:
        lines += _rollout(before.rollout if before.begun else RolloutStatus(), after.rollout)
    own = {run.name for run in after.own_runs}
    for name, run in after.runs.items():
        if name in own:
            lines += _run(before.runs.get(name), run)
    for name, pod in after.pods.items():
        if name not in before.pods or _word(before.pods[name]) != _word(pod):
            lines.append(f"pod {name}{_role(pod, after.rollout)}: {_word(pod)}")
    for name, pod in before.pods.items():
        if name not in after.pods:
            lines.append(f"pod {name}{_role(pod, after.rollout)}: gone")
    return lines


def _rollout(before: RolloutStatus, after: RolloutStatus) -> list[str]:
    lines = []
    going = bool(after.steps and after.stable) and not after.aborted  # it sets the step back; a first release has none
    if after.step is not None and going and before.step != after.step:
        done = after.step >= len(after.steps)
        at = "" if done else f"step {after.step + 1} of {len(after.steps)}: {after.steps[after.step]}"
        lines.append(at or "all steps done")
    if after.weight is not None and before.weight != after.weight:
        lines.append(f"weight: canary {after.weight} %, stable {100 - after.weight} %")
    if (before.phase, before.message) != (after.phase, after.message):
        lines.append(f"rollout: {after.phase}" + (f", {after.message}" if after.message else ""))
    if after.aborted and not before.aborted:
        lines.append("rollout: aborted")
    if after.refused and before.refused != after.refused:
        lines.append(after.refused)
    return lines


def _run(before: RunStatus | None, after: RunStatus) -> list[str]:
    lines = []
    if before is None or before.phase != after.phase:
        lines.append(f"analysis {after.name}: {after.phase}" + (f", {after.message}" if after.message else ""))
    seen = {one.name: one for one in before.metrics} if before else {}
    lines += [f"  {describe(one)}" for one in after.metrics if seen.get(one.name) != one]
    return lines


def describe(metric: MetricResult) -> str:
    told = {"value ": metric.value, "must hold: ": metric.limit, "measurements: ": metric.counts, "": metric.message}
    return "; ".join([f"{metric.name}: {metric.phase}", *(f"{what}{text}" for what, text in told.items() if text)])


def _word(pod: PodStatus) -> str:
    word = "Ready" if pod.ready and pod.phase == "Running" else pod.phase
    if pod.restarts:
        word += f", {pod.restarts} restarts"
    return f"{word}, {pod.problem}" if pod.problem else word


def _role(pod: PodStatus, rollout: RolloutStatus) -> str:
    if not pod.template_hash or rollout.first:
        return ""
    if pod.template_hash == rollout.stable:
        return " (stable)"
    return " (canary)" if pod.template_hash == rollout.current else " (old)"
