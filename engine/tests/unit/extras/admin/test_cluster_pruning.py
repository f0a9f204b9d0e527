from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sluice.cluster.rollback import Promotions, choose, revisions
from sluice.cluster.rollout_observer import RolloutTarget
from sluice.cluster.rollout_status import read_rollout
from sluice.extras.admin.retention import tidy_cluster
from support.kubernetes.api_server import KubeApi, serving, status
from support.kubernetes.player import Player
from unit.cluster.conftest import Runner, hold, plane, run

__all__ = ["plane", "run"]
NOW = "r-444444444444"


@pytest.fixture
def api(loopback: None) -> Iterator[KubeApi]:  # noqa: ARG001
    """The newest of four revisions is live, and the controller keeps three before it; a fifth, the oldest, is gone."""
    with serving(KubeApi()) as stub:
        rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "sluice"}}
        template = {"metadata": {"labels": {"app.kubernetes.io/version": NOW}}, "spec": {}}
        put(stub, {**rollout, "spec": {"template": template}, "status": {"stableRS": "old", "currentPodHash": "old"}})
        for number in range(5):
            release = f"r-{str(number) * 12}"
            config(stub, f"sluice-release-{str(number) * 10}")
            job(stub, f"sluice-database-{number}", release)
            if number:
                replicas(stub, number, release)
        yield stub


def put(api: KubeApi, document: Any) -> None:
    api.write(document, "somebody")


def metadata(name: str, *, days: float = 9, **more: Any) -> dict[str, Any]:
    made = datetime.now(UTC) - timedelta(days=days)
    return {"name": name, "creationTimestamp": made.isoformat(timespec="seconds").replace("+00:00", "Z"), **more}


def config(api: KubeApi, name: str, *, days: float = 9) -> None:
    put(api, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, days=days)})


def named(name: str) -> dict[str, Any]:
    return {"volumes": [{"name": "manifest", "configMap": {"name": name}}]}


def job(api: KubeApi, name: str, release: str, *, done: str = "Complete", days: float = 9, **more: Any) -> None:
    labels = {"app.kubernetes.io/version": release}
    status = {"conditions": [{"type": done, "status": "True"}]} if done else {}
    spec = {"template": {"spec": named(f"sluice-release-{release[-1] * 10}")}}
    about = metadata(name, days=days, labels=labels, **more)
    put(api, {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": spec, "status": status})


def replicas(api: KubeApi, number: int, release: str, **owner: str) -> None:
    labels = {"app.kubernetes.io/name": "sluice", "app.kubernetes.io/version": release}
    about = metadata(f"sluice-{number}", labels=labels, ownerReferences=[{"uid": "uid-sluice", **owner}])
    about["annotations"] = {"rollout.argoproj.io/revision": str(number)}
    template = {
        "metadata": {"labels": {**labels, "rollouts-pod-template-hash": f"hash-{number}"}},
        "spec": named(f"sluice-release-{str(number) * 10}"),
    }
    put(api, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": about, "spec": {"template": template}})


def target(api: KubeApi) -> RolloutTarget:
    return RolloutTarget(api.namespace, "sluice", "app.kubernetes.io/name=sluice")


def tidied(api: KubeApi) -> list[str]:
    """Names of what went, and that it was told."""
    lines: list[str] = []
    before = set(api.objects)
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        tidy_cluster(client, target(api), lines.append)
    gone = sorted(path.rpartition("/")[2] for path in before - set(api.objects))
    told = sorted(lines[0].removeprefix("tidied up ").split(", ")) if lines else []
    assert told == gone
    return gone


def test_what_the_controller_has_let_go_of_goes(api: KubeApi) -> None:
    assert tidied(api) == ["sluice-database-0", "sluice-release-0000000000"]
    assert tidied(api) == []


def test_every_release_that_a_rollback_may_choose_keeps_its_manifest(api: KubeApi) -> None:
    tidied(api)
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        known = revisions(client, target(api), "uid-sluice")
    now = read_rollout(api.objects[api.path("Rollout", "sluice")])
    assert [one.number for one in known] == [4, 3, 2, 1]
    for one in known:
        template = choose(now, known, one.release, Promotions(), one.release).template
        chosen = template["spec"]["volumes"][0]["configMap"]["name"]
        assert api.path("ConfigMap", chosen) in api.objects


def test_what_something_needs_or_may_need_stays(api: KubeApi) -> None:
    config(api, "sluice-release-6666666666")  # the analyses read it
    metric = {"name": "load", "provider": {"job": {"spec": {"template": {"spec": named("sluice-release-6666666666")}}}}}
    template = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": metadata("load")}
    put(api, {**template, "spec": {"metrics": [metric]}})
    config(api, "sluice-release-7777777777")  # pods of an experiment read it
    replicas(api, 7, "r-777777777777", uid="uid-experiment")
    job(api, "sluice-database-7", "r-777777777777")
    config(api, "sluice-release-8888888888", days=0.5)  # a deployment that is beginning may
    job(api, "sluice-database-8", "r-888888888888", days=0.5)
    config(api, "sluice-release-9999999999")  # a Job that runs reads it
    job(api, "sluice-database-9", "r-999999999999", done="")
    assert tidied(api) == ["sluice-database-0", "sluice-release-0000000000"]
    job(api, "sluice-database-9", "r-999999999999", done="Failed")
    assert tidied(api) == ["sluice-database-9", "sluice-release-9999999999"]


def test_what_is_not_ours_stays(api: KubeApi) -> None:
    job(api, "load-1", "r-000000000000", ownerReferences=[{"kind": "AnalysisRun", "uid": "x"}])
    for name in ("sluice-place-0000000000", "sluice-release", "sluice-release-notes", "kube-root-ca.crt"):
        config(api, name)
    # A Job of an analysis goes with its AnalysisRun; until then it names what it reads.
    assert tidied(api) == ["sluice-database-0"]


def left_behind(plane: Player) -> str:
    config(plane.api, "sluice-release-aaaaaaaaaa")
    return plane.api.path("ConfigMap", "sluice-release-aaaaaaaaaa")


@pytest.mark.parametrize(("becomes", "kept"), [("promoted", False), ("stopped", True)])
def test_only_a_promotion_tidies_up(plane: Player, run: Runner, becomes: str, kept: bool) -> None:
    hold(plane)
    old = left_behind(plane)
    plane.nodes.verdicts = {"load": "Failed"} if becomes == "stopped" else {}
    assert run().kind == becomes
    assert (old in plane.api.objects) is kept
    assert any(line.startswith("tidied up ") and "sluice-release-aaaaaaaaaa" in line for line in run.lines) is not kept
    own = run.one("Rollout")["spec"]["template"]["spec"]["volumes"]
    (manifest,) = (one["configMap"]["name"] for one in own if one["name"] == "manifest")
    assert plane.api.path("ConfigMap", manifest) in plane.api.objects, "the manifest of the release itself"


def test_a_cluster_that_does_not_let_us_tidy_up_changes_no_verdict(plane: Player, run: Runner) -> None:
    hold(plane)
    left_behind(plane)
    words = 'configmaps "sluice-release-aaaaaaaaaa" is forbidden: User "ci" cannot delete resource "configmaps"'
    plane.api.refuse["DELETE", "/configmaps/"] = status(403, "Forbidden", words)
    assert run().kind == "promoted"
    assert f"nothing more was tidied up: {words}" in run.lines
