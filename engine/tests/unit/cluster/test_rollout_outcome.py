import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.rollout_outcome import outcome
from sluice.cluster.rollout_status import (
    RELEASE_LABEL,
    ReplicaSetStatus,
    RolloutSnapshot,
    read_pod,
    read_replica_set,
    read_rollout,
    read_run,
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


def test_the_deciding_value_is_the_last_of_its_phase_and_of_no_other_release() -> None:
    def reasons(current: str) -> tuple[str, ...]:
        status = {"observedGeneration": "2", "currentPodHash": current, "stableRS": "old", "abort": True}
        metadata = {"name": "sluice", "uid": "u", "generation": 2}
        spec = {"template": {"metadata": {"labels": {}}}}
        now = read_rollout({"metadata": metadata, "spec": spec, "status": {**status, "message": "stopped by hand"}})
        sets = {current: ReplicaSetStatus(current, now.template, 1, 1, False)}
        measured = [{"phase": "Successful", "value": "[0]"}, {"phase": "Failed", "value": "[0.3]"}]
        found = outcome(RolloutSnapshot(now, {"run": run("Failed", measurements=measured)}, {}, sets))
        assert found is not None
        return found.reasons

    assert reasons("new") == ("run: errors: Failed; value [0.3]; must hold: not (result[0] > 0.02)",)
    assert reasons("newest") == ("stopped by hand",)


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


def test_a_pause_tells_when_it_ends() -> None:
    def message(step: Any) -> str:
        began = {"reason": "CanaryPauseStep", "startTime": "2026-11-27T12:32:35Z"}  # recorded/promoted.jsonl
        status = {"message": "CanaryPauseStep", "currentStepIndex": 0, "pauseConditions": [began]}
        spec = {"strategy": {"canary": {"steps": [step]}}}
        return read_rollout({"metadata": {"name": "s"}, "spec": spec, "status": status}).message

    end = datetime(2026, 11, 27, 12, 42, 35, tzinfo=UTC).astimezone()
    assert message({"pause": {"duration": "10m"}}) == f"CanaryPauseStep, until {end:%H:%M:%S}"
    assert {message(one) for one in ({"pause": {}}, {"setWeight": 10})} == {"CanaryPauseStep"}


RECORDED = Path(__file__).with_name("recorded")
# Releases by letter in the order in which they were first deployed; `replaced` by the next, whatever ends it.
ENDS = {
    "promoted": "a promoted, b promoted",
    "stopped-quality": "a promoted, b stopped",
    "retry": "a promoted, b stopped, b promoted, c stopped, c stopped",
    "first-never-ready": "a failed, b promoted",
    "bad-first-while-users-look": "a replaced, b promoted",
    # In mid-canary, in a pause, the release after the stopped one: the recording ends before its canary does.
    "new-after-stop-in-pause": "a promoted, b stopped",
    # The status of a, Healthy and stable, is published under the generation of b before b has one pod.
    "replicas-lowered": "a promoted, b replaced, c promoted",
    "over-another": "a promoted, b replaced, c promoted",
    "three-stops-then-back": "a promoted, b promoted, c stopped, d stopped, e stopped, b promoted",
    "rollback-and-undo": "a promoted, b promoted, a promoted, b promoted, c promoted",
    "rollback-never-to-a-stopped": "a promoted, b stopped, c promoted, b promoted",
    "dead-stable": "a promoted, b promoted, c stopped, a promoted",
    "blue-green": "a promoted, b promoted, c stopped",
    "blue-green-other-between": "a promoted, b stopped, a promoted, b promoted",
    "experiment": "a promoted, b promoted",
    "quota": "a promoted",
    "unpullable": "a promoted, b failed",
    "unpullable-deadline-abort": "a promoted, b stopped",
    "pause-then-rollback": "a promoted, b promoted, b replaced, a replaced",
    "default-flags": "a replaced",
}


def document(row: dict[str, Any]) -> dict[str, Any]:
    labels = row["labels"]
    metadata = {"name": row["name"], "uid": "rollout", "generation": row["generation"], "labels": labels}
    if row["kind"] == "AnalysisRun":
        metadata["ownerReferences"] = [{"kind": "Rollout", "uid": "rollout"}]
    if row.get("leaving"):
        metadata["annotations"] = {"scale-down-deadline": "2026-01-01T00:00:00Z"}
    template = {"metadata": {"labels": {RELEASE_LABEL: labels.get(RELEASE_LABEL, "")}}}
    spec = {"template": template, "paused": row.get("paused", False)}
    return {"metadata": metadata, "spec": spec, "status": row["status"]}


def snapshots(name: str) -> Iterator[RolloutSnapshot]:
    state: dict[tuple[str, str], dict[str, Any]] = {}
    for line in (RECORDED / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("deleted"):
            state.pop((row["kind"], row["name"]), None)
        else:
            state[row["kind"], row["name"]] = row
        found: dict[str, list[Any]] = {"Rollout": [], "ReplicaSet": [], "AnalysisRun": []}
        for one in state.values():
            found[one["kind"]].append(document(one))
        if found["Rollout"]:
            sets = [read_replica_set(one) for one in found["ReplicaSet"]]
            runs = [read_run(one) for one in found["AnalysisRun"]]
            rollout = read_rollout(found["Rollout"][0])
            yield RolloutSnapshot(
                rollout, {one.name: one for one in runs}, {}, {one.template_hash: one for one in sets}
            )


def ends(name: str) -> str:
    letters: dict[str, str] = {}
    said: list[str] = []
    watched, ended = "", True
    for picture in snapshots(name):
        release = picture.rollout.template
        letters.setdefault(release, chr(ord("a") + len(letters)))
        if watched and release != watched and not ended:
            over = outcome(picture, template=watched)
            assert over is not None
            said.append(f"{letters[watched]} {over.kind}")
        if release != watched:
            watched, ended = release, False
        found = outcome(picture, template=watched)
        if found is not None and found.kind == "promoted":
            stable = picture.replica_sets[picture.rollout.stable]
            assert stable.template == watched, "live only when its own pods are stable"
        if found is not None and not ended:
            said.append(f"{letters[watched]} {found.kind}")
        ended = found is not None
    return ", ".join(said)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.jsonl")))
def test_what_a_real_controller_wrote_is_read_as_what_happened(name: str) -> None:
    assert ends(name) == ENDS[name]
