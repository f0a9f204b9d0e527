"""From objects to what is shown, and to how a rollout has ended."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.cluster.rollout_outcome import changes, outcome, waits_for_a_person
from sluice.cluster.rollout_status import (
    ReplicaSetStatus,
    RolloutSnapshot,
    read_pod,
    read_replica_set,
    read_rollout,
    read_run,
    template_key,
)


def rollout(status: dict[str, Any] | None = None, *, steps: list[Any] | None = None, generation: int = 2) -> Any:
    return read_rollout(
        {
            "metadata": {"name": "sluice", "uid": "u", "generation": generation},
            "spec": {"strategy": {"canary": {"steps": steps or []}}, "template": {"metadata": {"labels": {}}}},
            "status": {"observedGeneration": "2", "currentPodHash": "new", "stableRS": "old", **(status or {})},
        }
    )


def picture(status: dict[str, Any] | None = None, *, runs: Any = (), generation: int = 2) -> RolloutSnapshot:
    """A Rollout whose status is about the template that it has, and analyses."""
    now = rollout(status, generation=generation)
    sets = {
        one: ReplicaSetStatus(one, now.template if one == now.current else "another", 1, 1, False)
        for one in (now.current, now.stable, "newest")
    }
    return RolloutSnapshot(now, {one.name: one for one in runs}, {}, sets)


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
    found = outcome(picture(status))
    assert (found.kind if found else None) == kind


def test_a_status_older_than_what_was_applied_says_nothing() -> None:
    assert outcome(picture({"phase": "Healthy", "stableRS": "new"}, generation=3)) is None


@pytest.mark.parametrize("status", [{"phase": "Healthy", "stableRS": "old"}, {"abort": True}, {"phase": "Degraded"}])
def test_a_status_about_the_template_before_says_nothing(status: dict[str, Any]) -> None:
    """Argo Rollouts 1.9.1 publishes such a status under the new generation: rollout/context.go:58-65, sync.go:532."""
    assert outcome(picture({"currentPodHash": "old", **status})) is not None
    now = rollout({"currentPodHash": "old", **status})
    before = ReplicaSetStatus("old", "that of before", 1, 1, False)
    assert outcome(RolloutSnapshot(now, replica_sets={"old": before})) is None


def test_another_release_over_the_one_that_is_watched() -> None:
    found = outcome(picture({"phase": "Healthy", "stableRS": "new"}), template="the one that was deployed")
    assert found is not None
    assert found.kind == "replaced"


def test_a_template_is_known_by_its_annotation_and_without_one_by_its_release() -> None:
    labels = {"app.kubernetes.io/version": "r-111111111111"}
    assert template_key({"metadata": {"labels": labels}}) == "r-111111111111"
    annotated = {"metadata": {"labels": labels, "annotations": {"sluice/template": "abc"}}}
    assert template_key(annotated) == "abc"
    made = {"metadata": {"labels": {"rollouts-pod-template-hash": "h"}}, "spec": {"template": annotated}}
    assert read_replica_set(made) == ReplicaSetStatus("h", "abc", 0, 0, False)


def test_the_analysis_of_an_experiment_is_a_reason() -> None:
    """Argo Rollouts 1.9.1 names an Experiment after the Rollout and its template (rollout/experiment.go:45-50)."""
    run = read_run(
        {
            "metadata": {
                "name": "sluice-new-2-0-paired",
                "ownerReferences": [{"kind": "Experiment", "name": "sluice-new-2-0", "uid": "e"}],
            },
            "status": {"phase": "Failed", "metricResults": [{"name": "load", "phase": "Failed"}]},
        }
    )
    found = outcome(picture({"abort": True}, runs=[run]))
    assert found is not None
    assert found.reasons == ("sluice-new-2-0-paired: load: Failed",)


def test_the_deciding_value_is_the_last_of_its_phase() -> None:
    bad = run("Failed", measurements=[{"phase": "Successful", "value": "[0]"}, {"phase": "Failed", "value": "[0.3]"}])
    found = outcome(picture({"abort": True}, runs=[bad]))
    assert found is not None
    assert found.reasons == ("run: errors: Failed; value [0.3]; must hold: not (result[0] > 0.02)",)


def test_analyses_of_another_release_are_no_reason() -> None:
    old = run("Failed", measurements=[])
    found = outcome(picture({"abort": True, "currentPodHash": "newest", "message": "stopped by hand"}, runs=[old]))
    assert found is not None
    assert found.reasons == ("stopped by hand",)


def test_a_person_is_waited_for_at_a_pause_without_end_only() -> None:
    paused = {"pauseConditions": [{"reason": "CanaryPauseStep"}], "currentStepIndex": 0}
    assert waits_for_a_person(rollout(paused, steps=[{"pause": {}}]))
    assert not waits_for_a_person(rollout(paused, steps=[{"pause": {"duration": "30s"}}]))


def test_the_same_picture_twice_shows_nothing() -> None:
    now = picture({"phase": "Progressing"}, runs=[run("Running")])
    assert changes(RolloutSnapshot(), now)
    assert changes(now, now) == []


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
