"""Releases from git: Argo CD or Flux applies them, and puts back what differs in the middle of a canary."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cluster.deploy_release import DeploymentResult
from sluice.cluster.gitops import FILE, write_release
from sluice.cluster.manifests import parse, place, render, schema_folders, validate
from sluice.cluster.release_overlay import render_release
from sluice.cluster.rollback import rollback
from sluice.core.errors import SluiceError
from starter_files import ROOT
from support.kubernetes.gitops import argo_cd, flux
from support.kubernetes.manifests import combined
from support.kubernetes.player import Player

from .conftest import (
    BEFORE,
    IMAGE,
    LOAD_IMAGE,
    QUICK,
    Runner,
    checkout,
    documents_of,
    hold,
    is_live,
    release,
    rollout,
    template_hash,
)

GUIDE = ROOT / "docs" / "gitops.md"


def application() -> Any:
    """Return the spec of the guide's Application."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (found,) = (one for block in blocks for one in yaml.safe_load_all(block) if one["kind"] == "Application")
    return found["spec"]


def sync(tool: str, plane: Player, documents: list[Any]) -> list[str]:
    return argo_cd(plane.api, documents, application()) if tool == "argo_cd" else flux(plane.api, documents) or []


def written(folder: Path, name: str = "", **options: bool) -> list[Any]:
    write_release(folder, documents_of(name), **options)
    return list(parse((folder / FILE).read_text()))


def play_until(plane: Player, weight: int) -> None:
    while plane.turn():
        if (rollout(plane)["status"].get("canary") or {}).get("weights", {}).get("canary", {}).get("weight") == weight:
            return
    raise AssertionError(rollout(plane)["status"])


def traffic(plane: Player) -> tuple[list[int], list[Any]]:
    route = plane.api.find("TraefikService", "sluice")
    services = [plane.api.find("Service", f"sluice-{name}") for name in ("stable", "canary")]
    assert route
    weights = [one["weight"] for one in route["spec"]["weighted"]["services"]]
    return weights, [(one or {})["spec"].get("selector") for one in services]


@pytest.mark.parametrize("tool", ["argo_cd", "flux"])
def test_a_tool_that_puts_back_what_differs_leaves_a_canary_alone(tool: str, plane: Player, tmp_path: Path) -> None:
    sync(tool, plane, written(tmp_path, BEFORE, first=False))
    assert traffic(plane) == ([100, 0], [None, None]), "nobody is led to pods that are not up"
    plane.settle()
    assert is_live(rollout(plane))
    documents = written(tmp_path)
    sync(tool, plane, documents)
    play_until(plane, 10)
    before, generation = traffic(plane), rollout(plane)["metadata"]["generation"]
    assert before[0] == [90, 10]
    assert all(before[1]), "the controller wrote its label into selectors that were not there"
    assert sync(tool, plane, documents) == []
    assert traffic(plane) == before
    plane.settle()
    assert rollout(plane)["metadata"]["generation"] == generation
    assert is_live(rollout(plane))


@pytest.mark.parametrize("tool", ["argo_cd", "flux"])
def test_without_the_rendering_it_would_not(tool: str, plane: Player, tmp_path: Path) -> None:
    """The selector is one field to the API server, and a list of weights to both."""
    documents = written(tmp_path, BEFORE, first=False)
    sync(tool, plane, documents)
    plane.settle()
    sync(tool, plane, written(tmp_path))
    play_until(plane, 10)
    (route,) = (one for one in documents_of() if one["kind"] == "TraefikService")
    if tool == "argo_cd":
        argo_cd(plane.api, [route], {**application(), "ignoreDifferences": []})
    else:
        flux(plane.api, [route, *(one for one in documents_of() if one["kind"] == "Service")])
        assert "rollouts-pod-template-hash" not in traffic(plane)[1][0]
    assert traffic(plane)[0] == [100, 0]


def test_kustomize_reads_what_was_written(tmp_path: Path) -> None:
    documents = written(tmp_path, first=False)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{FILE}]\n")
    assert {place(one): one for one in parse(render(tmp_path))} == {place(one): one for one in documents}
    validate(documents, *schema_folders(ROOT))
    assert [place(one) for one in documents[:-1]] == [place(one) for one in documents_of() if one["kind"] != "Rollout"]
    (annotation,) = (one["metadata"]["annotations"]["sluice/from-git"] for one in documents if one["kind"] == "Rollout")
    assert annotation == str(tmp_path)


def test_what_holds_data_or_is_mounted_by_old_pods_is_never_pruned_and_jobs_stay(tmp_path: Path) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"ttlSecondsAfterFinished": 9}}
    write_release(tmp_path, [*documents_of(), job], first=False)
    for one in parse((tmp_path / FILE).read_text()):
        kept = one["metadata"].get("annotations") or {}
        never = one["kind"] in ("ConfigMap", "Namespace")
        assert ("kustomize.toolkit.fluxcd.io/prune" in kept) == never
        assert ("Prune=false" in kept.get("argocd.argoproj.io/sync-options", "")) == never
        assert "ttlSecondsAfterFinished" not in one.get("spec", {}), "gone by itself, it would be run again"


@pytest.mark.parametrize(
    ("components", "services", "routes"),
    [
        ((), {"sluice-stable", "sluice-canary"}, {"TraefikService/sluice"}),
        (("blue-green",), {"sluice-stable", "sluice-canary"}, set()),
        (("rolling",), set(), set()),
        (("ingress-alb",), {"sluice-stable", "sluice-canary"}, set()),
        (("shadow",), {"sluice-stable", "sluice-canary"}, {"TraefikService/sluice"}),
    ],
)
def test_only_what_the_strategy_names_is_left_to_the_controller(
    components: tuple[str, ...], services: set[str], routes: set[str], tmp_path: Path
) -> None:
    rendered = [dict(one) for one in combined(*components)]
    (found,) = (one for one in rendered if one["kind"] == "Rollout")
    found["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] = "r-1"
    write_release(tmp_path, rendered, first=False)
    documents = parse((tmp_path / FILE).read_text())
    before, after = (
        {one["metadata"]["name"] for one in each if one["kind"] == "Service" and "selector" in one["spec"]}
        for each in (rendered, documents)
    )
    assert before - after == services
    assert {place(one) for one in documents if "ssa" in str(one["metadata"].get("annotations"))} == routes


def test_a_first_release_comes_without_the_routes_of_visitors(tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "checkout")
    overlay = workspace.root / "k8s" / "overlays" / "production" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("0" * 64, "b" * 64))
    folder = tmp_path / "git"

    def places(digit: str, first: bool | None = None) -> list[str]:
        made = release(prompts={"answer": digit * 64})
        write_release(folder, render_release(workspace, "production", made, IMAGE, LOAD_IMAGE), first=first)
        return [place(one) for one in parse((folder / FILE).read_text())]

    with pytest.raises(SluiceError, match="it is not there yet") as caught:
        places("1")
    assert "--first keeps visitors away" in str(caught.value)
    routes = ("IngressRoute/sluice", "IngressRoute/sluice-tls")
    assert [one for one in routes if one in places("1", first=True)] == ["IngressRoute/sluice"]
    with pytest.raises(SluiceError, match="no release was judged here yet"):
        places("2")
    assert [one for one in routes if one in places("1")] == [*routes], "the same one again, when it was judged"
    assert [one for one in routes if one in places("2")] == [*routes]


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("kind: Mine\n")
    written(tmp_path, first=False)
    assert (tmp_path / "own.yaml").read_text() == "kind: Mine\n"
    (tmp_path / FILE).write_text("kind: Mine\n")
    with pytest.raises(SluiceError, match="Sluice did not write this file"):
        written(tmp_path, first=False)
    assert (tmp_path / FILE).read_text() == "kind: Mine\n"


@pytest.fixture
def watch(plane: Player, run: Runner, tmp_path: Path) -> Callable[..., DeploymentResult]:
    """Watch a release that Flux brings when the command waits for it; `first`: as in `write_release`."""

    def begin(name: str = "", *, first: bool | None = None, **options: Any) -> DeploymentResult:
        brought = written(tmp_path, name, first=first)
        run.documents = documents_of(name)
        run.during = {"waiting until Argo CD or Flux": lambda: flux(plane.api, brought)}
        plane.api.requests.clear()
        return run(watch=True, **options)

    return begin


Watch = Callable[..., DeploymentResult]


def applied_by_us(plane: Player) -> list[str]:
    return [path for method, path in plane.api.requests if method == "PATCH" and "fieldManager=sluice" in path]


def test_a_release_from_git_is_watched_and_remembered(plane: Player, run: Runner, watch: Watch) -> None:
    hold(plane)
    done = watch(first=False)
    assert (done.kind, done.first) == ("promoted", False)
    assert f"waiting until Argo CD or Flux has brought {release().id} to the cluster: it has {BEFORE}" in run.lines
    assert [one for one in run.weights if one] == [10, 50, 100]
    assert applied_by_us(plane) == []
    hashes = [template_hash(plane.api, name) for name in (release().id, BEFORE)]
    assert rollout(plane)["metadata"]["annotations"]["sluice/promoted"].split() == hashes
    assert run(watch=True).kind == "unchanged"
    with pytest.raises(SluiceError, match="comes from git") as caught:
        run()
    assert "`sluice deploy --watch`" in str(caught.value)


def test_a_watch_that_begins_late_sees_the_rest(plane: Player, run: Runner, watch: Watch, tmp_path: Path) -> None:
    hold(plane)
    flux(plane.api, written(tmp_path, first=False))
    play_until(plane, 10)
    assert watch().kind == "promoted"
    assert "Argo CD" not in run.text
    assert [one for one in run.weights if one][-2:] == [50, 100]


def test_a_stop_is_by_status_alone(plane: Player, run: Runner, watch: Watch) -> None:
    hold(plane)
    plane.nodes.verdicts = {"load": "Inconclusive"}
    assert watch(first=False).kind == "stopped"
    assert rollout(plane)["status"]["abort"] is True
    assert applied_by_us(plane) == []
    plane.nodes.verdicts = {}
    assert run(watch=True, retry=True).kind == "promoted"


def test_a_release_that_does_not_come_says_what_is_there(plane: Player, run: Runner, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=f"{release().id} has not come to the cluster: it has no release"):
        run(watch=True, seconds=0)
    hold(plane)
    flux(plane.api, written(tmp_path, first=False))
    run.one("Rollout")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 61
    with pytest.raises(SluiceError, match=f"it has {release().id}, rendered from another commit or with other options"):
        run(watch=True, seconds=0)


def test_its_jobs_are_watched_and_a_failed_one_is_told(plane: Player, run: Runner, tmp_path: Path) -> None:
    hold(plane)
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {}}
    job["metadata"] = {"name": "load-1", "namespace": "sluice-local"}
    run.documents.append(job)
    write_release(tmp_path, run.documents, first=False)
    brought = list(parse((tmp_path / FILE).read_text()))
    run.during[f"it has {BEFORE}"] = lambda: flux(plane.api, [one for one in brought if one["kind"] != "Job"])
    run.during["Job/load-1 is missing"] = lambda: flux(plane.api, brought)
    plane.nodes.verdicts = {"load-1": "Failed"}
    with pytest.raises(SluiceError, match="job load-1") as caught:
        run(watch=True)
    assert "kubectl delete job load-1" in str(caught.value)


def test_a_first_release_from_git_is_judged_before_its_routes_come(
    plane: Player, run: Runner, watch: Watch, tmp_path: Path
) -> None:
    plane.nodes.verdicts = {"load": "Failed"}
    assert watch(first=True).kind == "failed"
    plane.nodes.verdicts = {}
    other = "r-111111111111"
    done = watch(other, first=True)
    assert (done.kind, done.first) == ("promoted", True)
    assert "no visitor is here yet: the steps of a canary are left out" in run.lines
    assert "render it again without --first, and commit that: then its routes let visitors in" in run.lines
    made = [path for path in applied_by_us(plane) if "/analysisruns/" not in path]
    assert made == [], "only the analyses are its own"
    flux(plane.api, written(tmp_path, other))
    assert "sluice/unjudged" not in rollout(plane)["metadata"]["annotations"]
    assert watch(other).kind == "unchanged"
    assert watch(first=None).kind == "promoted"
    assert [one for one in run.weights if one] == [10, 50, 100]


def test_a_first_release_that_came_with_its_routes_is_judged_too(plane: Player, run: Runner, watch: Watch) -> None:
    plane.nodes.verdicts = {"quality": "Failed"}
    assert watch(first=False).kind == "failed"
    assert run(watch=True).kind == "failed", "also when it is there already"


def back(plane: Player, run: Runner, name: str = "") -> Any:
    plane.api.requests.clear()
    return rollback(
        run.cluster, plane.api.namespace, "sluice", release=name, show=run.show, seconds=240, patience=QUICK
    )


def test_a_canary_from_git_is_aborted_and_its_commit_is_named(plane: Player, run: Runner) -> None:
    hold(plane)
    ended: list[Any] = []
    other = Runner(run.cluster.state)
    run.during["weight: canary 10 %"] = lambda: ended.append(back(plane, other))
    flux(plane.api, written(run.cluster.state, first=False))
    assert run(watch=True).kind == "stopped"
    assert ended[0][0] == BEFORE
    assert f"git still has {release().id}: revert its commit" in other.lines
    assert applied_by_us(plane) == []
    assert traffic(plane)[0] == [100, 0]
    flux(plane.api, written(run.cluster.state, BEFORE))
    plane.settle()
    assert is_live(rollout(plane)), "the commit is reverted"


def test_a_rollback_is_rendered_and_then_watched(plane: Player, run: Runner, watch: Watch, tmp_path: Path) -> None:
    assert watch(BEFORE, first=False).kind == "promoted"
    assert watch().kind == "promoted"
    with pytest.raises(SluiceError, match="would put it back") as caught:
        back(plane, run)
    assert f"--into {tmp_path} --release {BEFORE} --rollback" in str(caught.value)
    assert applied_by_us(plane) == []
    write_release(tmp_path, documents_of(BEFORE), rollback=True)
    flux(plane.api, parse((tmp_path / FILE).read_text()))
    assert "analysis" not in json.dumps(rollout(plane)["spec"]["strategy"])
    label, ended = back(plane, run, BEFORE)
    assert (label, ended.kind) == (BEFORE, "promoted")
    assert applied_by_us(plane) == []
    annotations = rollout(plane)["metadata"]["annotations"]
    gone, live = template_hash(plane.api, release().id), template_hash(plane.api, BEFORE)
    assert (annotations["sluice/promoted"], annotations["sluice/rolled-back-from"]) == (live, gone)
    assert back(plane, run, BEFORE)[1].kind == "promoted", "and again, when it is over"
