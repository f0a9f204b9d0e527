"""From objects to what is shown, and to how a rollout has ended."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.cluster.rollout_changes import changes
from sluice.cluster.rollout_outcome import outcome, waits_for_a_person
from sluice.cluster.rollout_status import RolloutSnapshot, read_pod, read_rollout, read_run


def rollout(status: dict[str, Any] | None = None, *, steps: list[Any] | None = None, generation: int = 2) -> Any:
    return read_rollout(
        {
            "metadata": {"name": "sluice", "uid": "u", "generation": generation},
            "spec": {"strategy": {"canary": {"steps": steps or []}}, "template": {"metadata": {"labels": {}}}},
            "status": {"observedGeneration": "2", "currentPodHash": "new", "stableRS": "old", **(status or {})},
        }
    )


def run(phase: str, **result: Any) -> Any:
    return read_run(
        {
            "metadata": {
                "name": "run",
                "labels": {"rollouts-pod-template-hash": "new"},
                "ownerReferences": [{"kind": "Rollout", "uid": "u"}],
            },
            "spec": {
                "args": [{"name": "limit", "value": "0.02"}],
                "metrics": [{"name": "errors", "failureCondition": "result[0] > {{ args.limit }}", "provider": {}}],
            },
            "status": {"phase": phase, "metricResults": [{"name": "errors", "phase": phase, **result}]},
        }
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({}, None),
        ({"phase": "Progressing"}, None),
        ({"phase": "Paused", "pauseConditions": [{"reason": "CanaryPauseStep"}]}, None),
        ({"phase": "Healthy", "stableRS": "new"}, "promoted"),
        ({"phase": "Healthy"}, None),  # healthy with another template than stable is not promoted
        ({"phase": "Healthy", "stableRS": "", "currentPodHash": ""}, None),
        ({"phase": "Degraded"}, "failed"),
        ({"phase": "Degraded", "abort": True}, "stopped"),
        ({"phase": "Paused", "pauseConditions": [{"reason": "InconclusiveAnalysisRun"}]}, "inconclusive"),
        ({"phase": "Healthy", "stableRS": "new", "observedGeneration": "1"}, None),  # about an older spec
    ],
)
def test_how_it_ended(status: dict[str, Any], kind: str | None) -> None:
    found = outcome(RolloutSnapshot(rollout=rollout(status)))
    assert (found.kind if found else None) == kind


def test_a_status_older_than_what_was_applied_says_nothing() -> None:
    picture = RolloutSnapshot(rollout=rollout({"phase": "Healthy", "stableRS": "new"}))
    assert outcome(picture, generation=3) is None


def test_the_deciding_value_is_the_last_of_its_phase() -> None:
    bad = run("Failed", measurements=[{"phase": "Successful", "value": "[0]"}, {"phase": "Failed", "value": "[0.3]"}])
    found = outcome(RolloutSnapshot(rollout=rollout({"abort": True}), runs={"run": bad}))
    assert found is not None
    assert found.reasons == ("run: errors: Failed; value [0.3]; must hold: not (result[0] > 0.02)",)


def test_analyses_of_another_release_are_no_reason() -> None:
    old = run("Failed", measurements=[])
    status = {"abort": True, "currentPodHash": "newer", "message": "stopped by hand"}
    found = outcome(RolloutSnapshot(rollout=rollout(status), runs={"run": old}))
    assert found is not None
    assert found.reasons == ("stopped by hand",)


def test_a_person_is_waited_for_at_a_pause_without_end_only() -> None:
    paused = {"pauseConditions": [{"reason": "CanaryPauseStep"}], "currentStepIndex": 0}
    assert waits_for_a_person(rollout(paused, steps=[{"pause": {}}]))
    assert not waits_for_a_person(rollout(paused, steps=[{"pause": {"duration": "30s"}}]))


def test_the_same_picture_twice_shows_nothing() -> None:
    picture = RolloutSnapshot(rollout=rollout({"phase": "Progressing"}), runs={"run": run("Running")})
    assert changes(RolloutSnapshot(), picture)
    assert changes(picture, picture) == []


def pod(**status: Any) -> Any:
    labels = {"rollouts-pod-template-hash": "new"}
    return read_pod({"metadata": {"name": "p", "labels": labels}, "status": {"phase": "Pending", **status}})


def test_what_keeps_a_pod_from_starting() -> None:
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    assert pod(initContainerStatuses=[waiting]).problem == "ErrImagePull: not found"
    assert pod(initContainerStatuses=[waiting]).stuck
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert pod(conditions=[unschedulable]).problem == "Unschedulable: 0/3 nodes"
    assert not pod(conditions=[unschedulable]).stuck  # a new node may be on its way
    assert pod(containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]).problem == ""


def test_a_pod_that_is_gone_is_shown() -> None:
    before = RolloutSnapshot(rollout=rollout(), pods={"p": pod()})
    assert changes(before, RolloutSnapshot(rollout=rollout())) == ["pod p (canary): gone"]
