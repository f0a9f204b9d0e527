"""Each type of deployment against the stub API server and its controllers: which share of visitors a release has.

The share is computed at every state of the cluster as Traefik 3.7 would send a request: of the IngressRoutes whose rule
matches, the longest rule (pkg/muxer/http/mux.go: the priority of a rule is its length); of a weighted TraefikService
the weights, of a mirroring one its own service (pkg/server/service/loadbalancer/mirror/mirror.go: only its answer is
sent); of a Service the ready pods that its selector names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cluster.deploy_release import DeploymentResult, deploy
from sluice.cluster.kubectl import Cluster
from sluice.cluster.release_overlay import render_release
from sluice.cluster.rollout_status import RELEASE_LABEL
from sluice.release.manifest import Manifest
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.control_plane import ControlPlane

from .cluster import IMAGE, LOAD_IMAGE, checkout, release
from .test_deploy import QUICK

HOST = "sluice.example.com"
_HOST, _HEADER = re.compile(r"Host\(`([^`]+)`\)"), re.compile(r"HeaderRegexp\(`(\w+)`, `([^`]+)`\)")
OTHERS, GROUP = "Bearer key-w", "Bearer key-A"


def share(api: KubeApi, wanted: str, host: str, key: str) -> float:
    """Of the questions that come to a host with a key, those that a release answers."""
    service = _chosen(api, host, key)
    return _of(api, wanted, service) if service else 0.0


def copies(api: KubeApi, wanted: str, host: str, key: str) -> float:
    """Of the same questions, the percentage that a release gets a copy of."""
    service = _chosen(api, host, key)
    found = api.objects[api.path("TraefikService", service["name"])]["spec"] if service else {}
    mirrors = found.get("mirroring", {}).get("mirrors", ())
    return sum(float(one["percent"]) * _of(api, wanted, one) for one in mirrors)


def _chosen(api: KubeApi, host: str, key: str) -> Any:
    routes = [route for one in _all(api, "IngressRoute") for route in one["spec"]["routes"]]
    fitting = [route for route in routes if _matches(route, host, key)]
    return max(fitting, key=lambda route: len(route["match"]))["services"][0] if fitting else None


def _matches(route: Any, host: str, key: str) -> bool:
    headers = {"Authorization": key}
    return host in _HOST.findall(route["match"]) and all(
        re.search(pattern, headers.get(name, "")) for name, pattern in _HEADER.findall(route["match"])
    )


def _of(api: KubeApi, wanted: str, service: Any) -> float:
    if service.get("kind") != "TraefikService":
        selector = api.objects[api.path("Service", service["name"])]["spec"]["selector"]
        pods = [pod["metadata"]["labels"] for pod in _all(api, "Pod") if _ready(pod)]
        chosen = [labels for labels in pods if selector and selector.items() <= labels.items()]
        return sum(one[RELEASE_LABEL] == wanted for one in chosen) / len(chosen) if chosen else 0.0
    found = api.objects[api.path("TraefikService", service["name"])]
    if "mirroring" in found["spec"]:
        return _of(api, wanted, found["spec"]["mirroring"])
    parts = found["spec"]["weighted"]["services"]
    weight = sum(one.get("weight", 1) for one in parts)
    return sum(one.get("weight", 1) * _of(api, wanted, one) for one in parts) / weight


def _all(api: KubeApi, kind: str) -> list[Any]:
    """Without copies: this is asked at every state."""
    root = api.path(kind)
    return [one for path, one in list(api.objects.items()) if path.startswith(f"{root}/")]


def _ready(pod: Any) -> bool:
    return any(one == {"type": "Ready", "status": "True"} for one in pod["status"].get("conditions") or ())


@dataclass
class Place:
    """An environment with a type of deployment, behind TLS; `use` changes the type.

    `met`: the most that a release had, by key and release."""

    plane: ControlPlane
    run: Callable[[str], DeploymentResult]
    use: Callable[[str], None]
    lines: list[str]
    met: dict[tuple[str, str], float] = field(default_factory=dict)

    def most(self, digit: str, key: str = OTHERS) -> float:
        return self.met.get((named(digit).id, key), 0.0)

    def now(self, digit: str, key: str = OTHERS) -> float:
        return share(self.plane.api, named(digit).id, HOST, key)


def named(digit: str) -> Manifest:
    return release(prompts={"answer": digit * 64})


@pytest.fixture
def place(
    loopback: None,  # noqa: ARG001
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    workspace = checkout(tmp_path / "checkout")
    folder = workspace.root / "k8s" / "overlays" / "types"
    folder.mkdir()

    def use(kind: str) -> None:
        components = ["artefacts-volume", "ingress-tls", *([kind] if kind != "canary" else [])]
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "sluice-types",
            "resources": ["../../base"],
            "components": [f"../../../engine/k8s/components/{name}" for name in components],
            "images": [{"name": "sluice-load", "newName": "x.example/load", "digest": "sha256:" + "b" * 64}],
            "configMapGenerator": [{"name": "sluice-place", "behavior": "merge", "literals": ["artefacts=/artefacts"]}],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    use(request.param)
    api = KubeApi("sluice-types")
    plane = ControlPlane(api)
    lines: list[str] = []

    def run(digit: str) -> DeploymentResult:
        lines.clear()
        documents = render_release(workspace, "types", named(digit), IMAGE, LOAD_IMAGE)
        cluster = Cluster(tmp_path / "state", lost_seconds=3)
        return deploy(cluster, documents, show=lines.append, seconds=240, patience=QUICK)

    made = Place(plane, run, use, lines)

    def look() -> bool:
        moved = plane.turn()
        for digit in "123":
            for key in (OTHERS, GROUP, ""):
                at = (named(digit).id, key)
                made.met[at] = max(made.met.get(at, 0.0), share(api, at[0], HOST, key))
        return moved

    api.controllers = look
    with serving(api):
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        yield made


# The most that a bad release has of visitors outside of the group of ab, and of those in it.
MOST = {
    "canary": (0.1, 0.1),
    "blue-green": (0.0, 0.0),
    "shadow": (0.0, 0.0),
    "ab": (0.0, 1.0),
}


@pytest.mark.parametrize(("place", "most"), MOST.items(), ids=list(MOST), indirect=["place"])
def test_a_bad_release_has_at_most_the_share_of_its_type_and_a_good_one_all(
    place: Place, most: tuple[float, float]
) -> None:
    assert place.run("1").kind == "promoted"
    assert (place.now("1"), place.now("1", GROUP), place.now("1", "")) == (1, 1, 1)
    place.plane.nodes.verdicts = {"load": "Failed"}
    done = place.run("2")
    assert done.kind == "stopped", "\n".join(place.lines)
    assert "load: Failed" in " ".join(done.reasons)
    assert (place.most("2"), place.most("2", GROUP), place.most("2", "")) == (most[0], most[1], most[0])
    assert (place.now("1"), place.now("1", GROUP)) == (1, 1), "what was live has everybody again"
    place.plane.nodes.verdicts = {}
    assert place.run("3").kind == "promoted"
    place.plane.settle()
    assert (place.now("3"), place.now("3", GROUP), place.now("3", "")) == (1, 1, 1)


@pytest.mark.parametrize("place", ["ab"], indirect=True)
def test_what_visitors_like_less_is_stopped_and_only_the_group_has_met_it(place: Place) -> None:
    place.plane.nodes.verdicts = {"ab-preference": "Failed"}
    assert place.run("1").kind == "promoted", "of a first release there are no two sides yet"
    place.plane.nodes.values = {"ab-preference": "[-0.31]"}
    done = place.run("2")
    assert (done.kind, place.most("2"), place.most("2", GROUP)) == ("stopped", 0, 1)
    assert "ab-preference: Failed; value [-0.31]; must hold: len(result) == 1" in " ".join(done.reasons)
    assert [line for line in place.lines if "-quality" in line or "weight: canary 100" in line]
    assert place.now("1", GROUP) == 1


@pytest.mark.parametrize("place", ["shadow"], indirect=True)
def test_a_shadow_gets_copies_of_what_comes_by_tls(place: Place) -> None:
    found: list[float] = []
    assert place.run("1").kind == "promoted"
    before = place.plane.api.controllers
    assert before is not None

    def look() -> bool:
        moved = before()
        found.append(copies(place.plane.api, named("2").id, HOST, OTHERS))
        return moved

    place.plane.api.controllers = look
    place.plane.nodes.verdicts = {"load": "Failed"}
    assert place.run("2").kind == "stopped"
    assert (max(found), place.most("2")) == (10, 0)


@pytest.mark.parametrize("place", ["rolling"], indirect=True)
def test_rolling_goes_pod_by_pod_and_by_readiness_alone(place: Place) -> None:
    shares: list[float] = []
    assert place.run("1").kind == "promoted"
    place.plane.nodes.dead = {named("2").id}
    assert place.run("2").kind in ("stopped", "failed")
    assert place.most("2") == 0, "a pod that is not ready has no visitors"
    assert place.now("1") == 1
    place.plane.nodes.dead = set()
    before = place.plane.api.controllers
    assert before is not None

    def look() -> bool:
        moved = before()
        shares.append(round(place.now("3"), 2))
        return moved

    place.plane.api.controllers = look
    assert place.run("3").kind == "promoted"
    place.plane.settle()
    assert [*dict.fromkeys(shares)] == [0.0, 0.33, 0.5, 0.67, 1.0]
    assert place.now("3") == 1


@pytest.mark.parametrize("place", ["canary"], indirect=True)
@pytest.mark.parametrize("kind", ["rolling", "blue-green", "shadow", "ab"])
def test_an_environment_goes_over_to_another_type_and_back(place: Place, kind: str) -> None:
    """From weights that the controller has written and owns, which it does from its first canary on (Argo Rollouts
    1.9.1, rollout/trafficrouting/traefik/traefik.go:88-137)."""
    for digit, used in (("1", "canary"), ("2", "canary"), ("3", kind), ("4", "canary")):
        place.use(used)
        assert place.run(digit).kind == "promoted", "\n".join(place.lines)
        place.plane.settle()
        assert (place.now(digit), place.now(digit, GROUP)) == (1, 1)
