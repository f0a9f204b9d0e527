"""Lines that `sluice deploy` prints: differences between two snapshots of a rollout."""

from __future__ import annotations

from sluice.cluster.rollout_status import MetricResult, PodStatus, RolloutSnapshot, RolloutStatus, RunStatus


def changes(before: RolloutSnapshot, after: RolloutSnapshot) -> list[str]:
    """One line for each thing that changed, in the order in which it matters; none when nothing did."""
    lines: list[str] = []
    if after.rollout and after.begun:
        lines += _rollout(before.rollout if before.begun else None, after.rollout)
    own = {run.name for run in after.own_runs}
    for name, run in after.runs.items():
        if name in own:
            lines += _run(before.runs.get(name), run)
    for name, pod in after.pods.items():
        lines += _pod(before.pods.get(name), pod, after.rollout)
    for name, pod in before.pods.items():
        if name not in after.pods:
            lines.append(f"pod {name}{_role(pod, after.rollout)}: gone")
    return lines


def _rollout(before: RolloutStatus | None, after: RolloutStatus) -> list[str]:
    lines = []
    going = bool(after.steps and after.stable) and not after.aborted  # it sets the step back; a first release has none
    if after.step is not None and going and (before is None or before.step != after.step):
        done = after.step >= len(after.steps)
        what = "all steps done" if done else f"step {after.step + 1} of {len(after.steps)}: {after.steps[after.step]}"
        lines.append(what)
    if after.weight is not None and (before is None or before.weight != after.weight):
        lines.append(f"weight: canary {after.weight} %, stable {100 - after.weight} %")
    if before is None or (before.phase, before.message) != (after.phase, after.message):
        lines.append(f"rollout: {after.phase}" + (f", {after.message}" if after.message else ""))
    if after.aborted and not (before and before.aborted):
        lines.append("rollout: aborted")
    if after.refused and not (before and before.refused == after.refused):
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
    """Name, phase, value and limit of a metric in one line."""
    told = {"value ": metric.value, "must hold: ": metric.limit, "measurements: ": metric.counts, "": metric.message}
    return "; ".join([f"{metric.name}: {metric.phase}", *(f"{what}{text}" for what, text in told.items() if text)])


def _pod(before: PodStatus | None, after: PodStatus, rollout: RolloutStatus | None) -> list[str]:
    if before is not None and _word(before) == _word(after):
        return []
    return [f"pod {after.name}{_role(after, rollout)}: {_word(after)}"]


def _word(pod: PodStatus) -> str:
    word = "Ready" if pod.ready and pod.phase == "Running" else pod.phase
    if pod.restarts:
        word += f", {pod.restarts} restarts"
    return f"{word}, {pod.problem}" if pod.problem else word


def _role(pod: PodStatus, rollout: RolloutStatus | None) -> str:
    if rollout is None or not pod.template_hash or rollout.first:
        return ""
    if pod.template_hash == rollout.stable:
        return " (stable)"
    return " (canary)" if pod.template_hash == rollout.current else " (old)"
