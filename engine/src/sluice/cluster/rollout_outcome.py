"""Whether and how a rollout has ended: pure functions of a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sluice.cluster.rollout_changes import describe
from sluice.cluster.rollout_status import BAD_PHASES, RolloutSnapshot, RolloutStatus


@dataclass(frozen=True)
class RolloutOutcome:
    """`promoted`: the release has all traffic. `stopped`: it was aborted, stable has the traffic. `failed`: it cannot
    go on. `inconclusive`: an analysis could not decide, and the rollout waits. `replaced`: another one was deployed
    over it.

    `reasons`: a line each; `jobs`: whose logs say more."""

    kind: Literal["promoted", "stopped", "failed", "inconclusive", "replaced"]
    reasons: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def outcome(picture: RolloutSnapshot, *, template: str = "") -> RolloutOutcome | None:
    """How the deployment of a pod template has ended, by its `template_key` (empty: whatever the Rollout has).

    None while it goes on. A status about another template says nothing."""
    rollout = picture.rollout
    if rollout is None:
        return None
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
    """At a step `pause: {}`."""
    if "CanaryPauseStep" not in rollout.pauses or rollout.step is None or rollout.step >= len(rollout.steps):
        return False
    return rollout.steps[rollout.step] == "pause until a person goes on"


def reasons(picture: RolloutSnapshot) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the analyses say, and the Jobs whose logs say more; else what the controller and the pods say."""
    lines: list[str] = []
    jobs: list[str] = []
    for run in picture.own_runs:
        lines += [f"{run.name}: {describe(metric)}" for metric in run.bad]
        jobs += [metric.job for metric in run.bad if metric.job]
        if not run.bad and run.phase in BAD_PHASES:
            lines.append(f"{run.name}: {run.phase}, {run.message}")
    if not (rollout := picture.rollout):
        return tuple(lines), tuple(dict.fromkeys(jobs))
    if rollout.refused:
        lines.append(rollout.refused)
    if silent := not lines:  # a moment after a deadline the controller says that it aborted, and no more why
        *_, progress = rollout.conditions.get("Progressing", ("", "", "the controller gives no reason"))
        lines.append(rollout.message or progress)
    lines += [
        f"pod {pod.name}: {pod.problem or f'{pod.phase}, not ready'}"
        for pod in picture.pods.values()
        if pod.template_hash == rollout.current and (pod.problem or (silent and not pod.ready))
    ]
    return tuple(lines), tuple(dict.fromkeys(jobs))
