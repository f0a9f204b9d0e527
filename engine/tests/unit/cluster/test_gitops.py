"""Releases from git: Argo CD or Flux applies them, and puts back what differs in the middle of a canary."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cluster.gitops import FILE, write_release
from sluice.cluster.manifests import parse, place, render, schema_folders, validate
from sluice.cluster.release_overlay import render_release
from sluice.core.errors import SluiceError
from starter_files import ROOT
from support.kubernetes.gitops import argo_cd, flux
from support.kubernetes.manifests import combined
from support.kubernetes.player import Player

from .conftest import BEFORE, IMAGE, LOAD_IMAGE, checkout, documents_of, is_live, release, rollout

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
    assert {place(one): one for one in parse(render(tmp_path))} == {place(one): one for one in documents}
    validate(documents, *schema_folders(ROOT))
    assert [place(one) for one in documents[:-1]] == [place(one) for one in documents_of() if one["kind"] != "Rollout"]
    (annotation,) = (one["metadata"]["annotations"]["sluice/from-git"] for one in documents if one["kind"] == "Rollout")
    assert annotation == str(tmp_path)


def test_what_holds_data_or_is_mounted_by_old_pods_is_never_pruned(tmp_path: Path) -> None:
    for one in written(tmp_path, first=False):
        kept = one["metadata"].get("annotations") or {}
        assert ("kustomize.toolkit.fluxcd.io/prune" in kept) == (one["kind"] in ("ConfigMap", "Namespace"))
        assert ("Prune=false" in kept.get("argocd.argoproj.io/sync-options", "")) == (
            "kustomize.toolkit.fluxcd.io/prune" in kept
        )


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
    own = tmp_path / "kustomization.yaml"
    own.write_text("resources: [release.yaml, own.yaml]\n")
    written(tmp_path, first=False)
    assert "own.yaml" in own.read_text()
    (tmp_path / FILE).write_text("kind: Mine\n")
    with pytest.raises(SluiceError, match="Sluice did not write this file"):
        written(tmp_path, first=False)
    assert (tmp_path / FILE).read_text() == "kind: Mine\n"


def test_a_job_stays_when_it_has_ended(tmp_path: Path) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"ttlSecondsAfterFinished": 9}}
    write_release(tmp_path, [*documents_of(), job], first=False)
    (made,) = (one for one in parse((tmp_path / FILE).read_text()) if one["kind"] == "Job")
    assert made["spec"] == {}
