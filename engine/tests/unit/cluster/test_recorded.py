"""What a real controller wrote, state by state, and what is made of it.

`recorded/*.jsonl`: recorded from Argo Rollouts 1.9.1 (with the two flags for Traefik 3) and Kubernetes 1.34 while
`sluice deploy` and `sluice rollback` ran against them; pods were only marked ready, and Jobs ended as told. Shortened
to what is read here: Rollouts, ReplicaSets and analyses, each with its state whenever that changed. States shorter than
a quarter of a second may be missing. `ENDS` says what became of each release, as the whole recording shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.rollout_outcome import outcome
from sluice.cluster.rollout_status import (
    HASH_LABEL,
    RELEASE_LABEL,
    RolloutSnapshot,
    read_replica_set,
    read_rollout,
    read_run,
)

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
    """The object that a row is about, as far as it was kept."""
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
    """What a look would have seen after each change."""
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
    """How each deployment of a recording ends, for somebody who watches it from its first state on."""
    letters: dict[str, str] = {}
    said: list[str] = []
    watched, ended = "", True
    for picture in snapshots(name):
        assert picture.rollout is not None
        release = picture.rollout.template
        letters.setdefault(release, chr(ord("a") + len(letters)))
        if watched and release != watched and not ended:
            over = outcome(picture, template=watched)
            assert over is not None
            said.append(f"{letters[watched]} {over.kind}")
        if release != watched:
            watched, ended = release, False
        found = outcome(picture, template=watched)
        if found is not None and not ended:
            said.append(f"{letters[watched]} {found.kind}")
        ended = found is not None
    return ", ".join(said)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.jsonl")))
def test_what_a_real_controller_wrote_is_read_as_what_happened(name: str) -> None:
    assert ends(name) == ENDS[name]


def test_a_release_is_live_only_when_its_own_pods_are_stable() -> None:
    """Over all recordings: whenever `promoted` is said, the ReplicaSet of that very release is stable and available."""
    for path in RECORDED.glob("*.jsonl"):
        for picture in snapshots(path.stem):
            assert picture.rollout is not None
            found = outcome(picture, template=picture.rollout.template)
            if found is not None and found.kind == "promoted":
                stable = picture.replica_sets[picture.rollout.stable]
                assert stable.template == picture.rollout.template, path.stem


def test_the_recordings_hold_what_is_read() -> None:
    rows = [json.loads(line) for path in RECORDED.glob("*.jsonl") for line in path.read_text().splitlines()]
    sets = [row for row in rows if row["kind"] == "ReplicaSet" and not row.get("deleted")]
    assert {row["kind"] for row in rows} == {"Rollout", "ReplicaSet", "AnalysisRun"}
    assert all(row["labels"][HASH_LABEL] for row in sets)
