"""The controller that the stub API server plays writes what the real one wrote.

`recorded/argo/*.txt`: recorded from Argo Rollouts 1.9.1 (with the two flags for Traefik 3) and Kubernetes 1.34, each
distinct state as a line, sampled four times a second; pods were only marked ready and Jobs ended as told. The same
inputs are given to the double here. Of each kind of object, the lines that were recorded must come in the same order,
and what the double writes beside them must be shorter than the sampling: it stays no second of its clock.

Releases are letters in the order of their deployment, in place of the hashes of their templates.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from starter_files import STARTER
from support.kubernetes.api_server import KubeApi
from support.kubernetes.control_plane import ControlPlane, Nodes

RECORDED = Path(__file__).with_name("recorded") / "argo"
_SCHEMAS = json.loads(Path(__file__).with_name("recorded").joinpath("status-schemas.json").read_text())
SCHEMAS = {
    kind: jsonschema.Draft7Validator(_SCHEMAS[key]) for kind, key in (("Rollout", "rollout"), ("AnalysisRun", "run"))
}
HASH = "rollouts-pod-template-hash"
KINDS = ("Rollout", "ReplicaSet", "TraefikService", "AnalysisRun", "Service")
BLUE_GREEN = STARTER.parents[1] / "k8s" / "components" / "blue-green" / "strategy.yaml"
Object = dict[str, Any]


def line(row: Object) -> str:
    """One state of an object."""
    status = row.get("status") or {}
    if row["kind"] == "Rollout":
        weights = (status.get("canary") or {}).get("weights") or {}
        found = {one["type"]: f"{one['status']}:{one['reason']}" for one in status.get("conditions") or ()}
        known = " ".join(f"{kind}={found.get(kind, '-')}" for kind in ("Progressing", "Paused", "Healthy", "Completed"))
        pauses = ",".join(one["reason"] for one in status.get("pauseConditions") or ())
        return (
            f"generation {row['generation']} observed {status.get('observedGeneration')} {status.get('phase')} "
            f"({status.get('message', '')}) step {status.get('currentStepIndex')} "
            f"weight {weights.get('canary', {}).get('weight')} stable {status.get('stableRS')} "
            f"current {status.get('currentPodHash')} abort {bool(status.get('abort'))} pauses [{pauses}] | {known}"
        )
    if row["kind"] == "ReplicaSet":
        annotations = row.get("annotations") or {}
        leaving = " leaving" if "scale-down-deadline" in annotations else ""
        number = annotations.get("rollout.argoproj.io/revision")
        pods = f"{row['spec'].get('replicas')} pods, {status.get('availableReplicas', 0)} available"
        return f"{row['name']} {pods}, revision {number}{leaving}"
    if row["kind"] == "TraefikService":
        return " ".join(f"{one['name']}={one['weight']}" for one in row["spec"]["weighted"]["services"])
    if row["kind"] == "Service":
        return f"{row['name']} -> {row['spec']['selector'].get(HASH, 'every pod')}"
    return f"{row['name']} {status.get('phase', '')} {status.get('message', '')}".strip()


class World:
    """A namespace with the canary of k8s/base/rollout.yaml, and what people do in it."""

    def __init__(self, **spec: Any) -> None:
        self.api = KubeApi()
        self.api.keeps_states = True
        self.nodes = Nodes()
        self.plane = ControlPlane(self.api, self.nodes)
        rollout = yaml.safe_load((STARTER / "k8s" / "base" / "rollout.yaml").read_text())
        # As the manifests were when the recordings were made.
        rollout["spec"] |= {"replicas": 1, "revisionHistoryLimit": 3, "progressDeadlineAbort": False} | spec
        del rollout["spec"]["strategy"]["canary"]["minPodsPerReplicaSet"]
        self.rollout = rollout
        for name in ("sluice-stable", "sluice-canary"):
            self.api.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": name},
                    "spec": {"selector": {"app.kubernetes.io/name": "sluice"}},
                }
            )
        services = [{"name": "sluice-stable", "weight": 100}, {"name": "sluice-canary", "weight": 0}]
        self.api.apply(
            {
                "apiVersion": "traefik.io/v1alpha1",
                "kind": "TraefikService",
                "metadata": {"name": "sluice"},
                "spec": {"weighted": {"services": services}},
            }
        )
        for name in ("quality", "load"):
            metric = {
                "name": name,
                "provider": {"job": {"spec": {"template": {"spec": {"containers": [{"name": name}]}}}}},
            }
            self.api.apply(
                {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "AnalysisTemplate",
                    "metadata": {"name": name},
                    "spec": {"metrics": [metric]},
                }
            )

    @property
    def status(self) -> Object:
        return self.api.objects[self.api.path("Rollout", "sluice")].get("status", {})

    def deploy(self, release: str, *, image: str = "", **spec: Any) -> None:
        """`spec`: beside the template, such as `replicas`."""
        self.plane.move(seconds=5)
        self.rollout["spec"] |= spec
        template = copy.deepcopy(self.rollout["spec"]["template"])
        template["metadata"]["labels"]["app.kubernetes.io/version"] = release
        template["spec"]["containers"][0]["image"] = f"registry.example/{image or 'sluice'}@{release}"
        spec = {key: one for key, one in self.rollout["spec"].items() if one is not None}
        self.api.apply({**self.rollout, "spec": {**spec, "template": template}}, force=True)

    def back(self, release: str) -> None:
        """As `sluice rollback`: the template of the ReplicaSet, and a window."""
        sets = self.api.all("ReplicaSet")
        (found,) = (one for one in sets if one["metadata"]["labels"]["app.kubernetes.io/version"] == release)
        template = found["spec"]["template"]
        del template["metadata"]["labels"][HASH]
        self.plane.move(seconds=1)
        live = self.api.find("Rollout", "sluice")
        spec = {**live["spec"], "template": template, "rollbackWindow": {"revisions": 3}}
        self.api.apply({**self.rollout, "spec": spec}, force=True)

    def patch(self, where: str, *, after: float = 1, **fields: Any) -> None:
        self.plane.move(seconds=after)
        live = self.api.find("Rollout", "sluice")
        live[where] |= fields
        live[where] = {key: one for key, one in live[where].items() if one is not None}
        self.api.write(live, "somebody")

    def go(self, until: Callable[[Object], bool] = lambda _: False) -> None:
        """Turns, until the status is as asked for, or nothing moves any more."""
        for _ in range(300):
            if until(self.status) or not self.plane.turn():
                return
        raise AssertionError("it never comes to rest")

    def written(self) -> Iterator[tuple[datetime, str, str]]:
        """Each state that was another: when, its kind, its line."""
        letters: dict[str, str] = {}
        last: dict[tuple[str, str], str] = {}
        for row in self.api.seen:
            metadata = row["metadata"]
            if row["kind"] == "ReplicaSet":
                letters.setdefault(metadata["labels"][HASH], metadata["labels"]["app.kubernetes.io/version"])
            if row["kind"] not in KINDS or (row["kind"] == "Rollout" and not row.get("status")):
                continue
            text = f"{metadata['name']} deleted" if row.get("deleted") else line({**metadata, **row})
            for digest, letter in letters.items():
                text = text.replace(digest, f"<{letter}>")
            if last.get((row["kind"], metadata["name"])) != text:
                last[row["kind"], metadata["name"]] = text
                yield row["at"], row["kind"], text

    def live(self) -> None:
        """Until what was deployed is live."""
        generation = str(self.api.find("Rollout", "sluice")["metadata"]["generation"])
        self.go(
            lambda status: (
                status.get("phase") == "Healthy" and status["observedGeneration"] == generation and _done(status)
            )
        )
        assert self.status["phase"] == "Healthy", self.status
        self.plane.settle()

    def stopped(self) -> None:
        generation = str(self.api.find("Rollout", "sluice")["metadata"]["generation"])
        self.go(lambda status: status.get("phase") == "Degraded" and status["observedGeneration"] == generation)
        assert self.status["phase"] == "Degraded", self.status
        self.plane.settle()

    def first(self) -> None:
        self.deploy("a")
        self.live()

    def second(self) -> None:
        self.first()
        self.deploy("b")
        self.live()

    def fails(self, release: str, judge: str = "quality") -> None:
        self.nodes.verdicts = {judge: "Failed"}
        self.deploy(release)
        self.stopped()
        self.nodes.verdicts = {}


def _done(status: Object) -> bool:
    return bool(status.get("stableRS") == status["currentPodHash"])


def in_pause(status: Object) -> bool:
    return bool(status.get("pauseConditions"))


def retry(world: World) -> None:
    world.first()
    world.fails("b")
    world.plane.move(seconds=31)
    world.plane.settle()
    world.patch("status", abort=False)
    world.live()
    world.fails("c", "load")
    world.nodes.verdicts = {"quality": "Failed"}
    world.patch("status", abort=False)
    world.go(lambda status: status["phase"] == "Progressing")
    world.stopped()


def new_after_stop(world: World) -> None:
    world.first()
    world.deploy("b")
    world.go(in_pause)
    world.plane.settle()
    world.patch("status", abort=True, after=0)
    world.stopped()
    world.deploy("c")
    world.go(lambda status: status["phase"] == "Progressing" and status["currentStepIndex"] == 1)
    world.plane.settle()


def three_stops(world: World) -> None:
    world.second()
    for release, seconds in (("c", 4), ("d", 10), ("e", 13)):
        world.plane.move(seconds=seconds)
        world.plane.settle()
        world.fails(release)
    world.back("b")
    world.live()
    world.plane.move(seconds=10)
    world.plane.settle()


def back_and_undo(world: World) -> None:
    world.second()
    for release in "ab":
        world.back(release)
        world.live()
    world.deploy("c")
    world.live()


def never_to_a_stopped(world: World) -> None:
    world.first()
    world.fails("b")
    world.deploy("c")
    world.live()
    world.back("b")
    world.live()


def pause_then_back(world: World) -> None:
    world.second()
    world.patch("spec", paused=True)
    world.plane.settle()
    world.back("a")
    world.plane.settle()
    world.plane.move(seconds=60)
    world.deploy("c", paused=True)
    world.plane.settle()


def pause_then_deploy(world: World) -> None:
    world.first()
    world.patch("spec", paused=True)
    world.plane.settle()
    world.deploy("b", paused=True)
    world.plane.settle()


def replicas_lowered(world: World) -> None:
    world.deploy("a", replicas=3)
    world.live()
    world.deploy("b", replicas=1)
    world.go(in_pause)
    world.plane.settle()
    world.deploy("c", replicas=4)
    world.live()


def dead_stable(world: World) -> None:
    world.second()
    world.nodes.dead = {"b"}
    world.plane.settle()
    world.fails("c")
    world.back("a")
    world.live()


def dead_stable_jobs_pass(world: World) -> None:
    world.first()
    world.nodes.dead = {"a"}
    world.plane.settle()
    world.deploy("b")
    world.live()


def unpullable(world: World, *, abort: bool = False) -> None:
    world.deploy("a", progressDeadlineSeconds=60, progressDeadlineAbort=abort)
    world.live()
    world.deploy("b", image="absent")
    world.stopped()
    if not abort:
        world.patch("status", abort=True)
        world.plane.settle()


def quota(world: World) -> None:
    world.first()
    world.api.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods"}, "spec": {"hard": {"pods": "1"}}}
    )
    world.deploy("b")
    world.plane.settle()


def over_another(world: World) -> None:
    world.first()
    world.deploy("b")
    world.go(in_pause)
    world.plane.settle()
    world.deploy("c")
    world.live()


def first_never_ready(world: World) -> None:
    world.nodes.dead = {"a"}
    world.deploy("a", progressDeadlineSeconds=60)
    world.stopped()
    world.deploy("b")
    world.live()


def blue_green(world: World) -> None:
    """Up to the stop: `--retry`, which the recording goes on with, is refused since."""
    (change,) = yaml.safe_load(BLUE_GREEN.read_text())
    world.rollout["spec"]["strategy"] = change["value"]
    world.second()
    world.fails("c", "load")


def rolling(world: World) -> None:
    """From a canary to a rolling update."""
    world.deploy("a", replicas=2)
    world.live()
    traffic = {"apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "metadata": {"name": "sluice"}}
    alone = {"spec": {"weighted": {"services": [{"name": "sluice-stable", "weight": 100}]}}}
    world.api.apply(traffic | alone, force=True)
    world.rollout["spec"] |= {"strategy": {"canary": {"maxSurge": 1, "maxUnavailable": 0}}, "minReadySeconds": 30}
    world.deploy("b")
    world.live()


SCENARIOS: dict[str, Callable[[World], None]] = {
    "promoted": World.second,
    "stopped-quality": lambda world: (world.first(), world.fails("b"))[0],
    "stopped-load": lambda world: (world.first(), world.fails("b", "load"))[0],
    "retry": retry,
    "new-after-stop-in-pause": new_after_stop,
    "three-stops-then-back": three_stops,
    "rollback-and-undo": back_and_undo,
    "rollback-never-to-a-stopped": never_to_a_stopped,
    "pause-then-rollback": pause_then_back,
    "pause-then-deploy": pause_then_deploy,
    "replicas-lowered": replicas_lowered,
    "dead-stable": dead_stable,
    "dead-stable-jobs-pass": dead_stable_jobs_pass,
    "unpullable": unpullable,
    "unpullable-deadline-abort": lambda world: unpullable(world, abort=True),
    "quota": quota,
    "over-another": over_another,
    "first-never-ready": first_never_ready,
    "blue-green": blue_green,
    "rolling": rolling,
}


def about(kind: str, text: str) -> str:
    """The object of a line."""
    return f"{kind} {text.partition(' ')[0]}" if kind in ("ReplicaSet", "AnalysisRun", "Service") else kind


def recorded(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in (RECORDED / f"{name}.txt").read_text().splitlines():
        kind, _, text = row[7:].partition(" ")
        found.setdefault(about(kind, text), []).append(text)
    return found


def compare(wanted: list[str], written: list[tuple[datetime, str]]) -> list[str]:
    """What differs."""
    wanted = list(wanted)
    faults: list[str] = []
    last = ""
    for index, (at, text) in enumerate(written):
        if wanted and wanted[0] == text:
            last = wanted.pop(0)
        elif text == last:  # it was another one for a moment
            continue
        elif index + 1 < len(written) and written[index + 1][0] - at >= timedelta(seconds=1):
            faults.append(f"not recorded: {at:%H:%M:%S} {text}")
    return [*faults, *(f"not written: {text}" for text in wanted)]


def faults_of(seen: list[Object]) -> set[str]:
    """What the closed schemas of Argo Rollouts say against the statuses that were written."""
    found = set()
    for kind, schema in SCHEMAS.items():
        written = [one["status"] for one in seen if one["kind"] == kind and one.get("status")]
        for status in {json.dumps(one, sort_keys=True) for one in written}:
            found |= {one.message for one in schema.iter_errors(json.loads(status))}
    return found


def test_a_misspelt_field_is_found() -> None:
    assert faults_of([{"kind": "Rollout", "status": {"phase": "Healthy", "stableRs": "new"}}])
    assert faults_of([{"kind": "AnalysisRun", "status": {"phase": "Failed", "metricResult": []}}])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_double_writes_what_the_real_controller_wrote(name: str) -> None:
    world = World()
    SCENARIOS[name](world)
    assert not faults_of(world.api.seen)
    written: dict[str, list[tuple[datetime, str]]] = {}
    for at, kind, text in world.written():
        written.setdefault(about(kind, text), []).append((at, text))
    wanted = recorded(name)
    if not any(key.startswith("Service") for key in wanted):  # of a canary the weights say who has visitors
        written = {key: rows for key, rows in written.items() if not key.startswith("Service")}
    assert written.keys() == wanted.keys()
    for key, rows in written.items():
        faults = compare(wanted[key], rows)
        assert not faults, "\n".join([key, *faults])
