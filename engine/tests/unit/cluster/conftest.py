from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from sluice.cluster.deploy_release import DeploymentResult, deploy
from sluice.cluster.kubectl import Cluster
from sluice.cluster.release_overlay import LOAD, render_release
from sluice.cluster.rollout_observer import WatchTimeouts
from sluice.cluster.rollout_status import HASH_LABEL, RELEASE_LABEL
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest, identified
from starter_files import copy_starter
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.player import Player, digest

IMAGE = "registry.example/sluice@sha256:" + "a" * 64
QUICK = WatchTimeouts(lost=120, pull=120, settle=60, poll=0.01)
LOAD_IMAGE = "registry.example/sluice-load@sha256:" + "b" * 64


def checkout(root: Path) -> Workspace:
    """Copy k8s/ and its schemas; the overlay `local` names the image that judges canaries."""
    copy_starter(root, "k8s")
    overlay = root / "k8s" / "overlays" / "local" / "kustomization.yaml"
    settings = yaml.safe_load(overlay.read_text())
    (load,) = (one for one in settings["images"] if one["name"] == LOAD)
    load["newName"], load["digest"] = LOAD_IMAGE.split("@")
    overlay.write_text(yaml.safe_dump(settings))
    (root / "prompts").mkdir()
    (root / "pyproject.toml").touch()
    return Workspace(root)


def release(**changes: Any) -> Manifest:
    return identified(
        {
            "prompts": {"answer": "1" * 64},
            "data": {"digest": "2" * 64},
            "index": {"digest": "3" * 64, "embedder": {}, "chunker": {}},
            "models": {},
            "adapter": None,
            "config": {},
            "files": {},
            **changes,
        }
    )


BEFORE = "r-000000000000"


@cache
def rendered() -> str:
    with TemporaryDirectory() as folder:
        return json.dumps(render_release(checkout(Path(folder)), "local", release(), IMAGE))


def documents_of(name: str = "") -> list[Any]:
    """Return that release as documents; with a name, one like it."""
    text = rendered()
    if name:
        (manifest,) = set(re.findall(r"sluice-release-[a-z0-9]{10}", text))
        text = text.replace(release().id, name).replace(manifest, f"sluice-release-{name[-10:]}")
    return list(json.loads(text))


def rollout(plane: Player) -> Any:
    return plane.api.objects[plane.api.path("Rollout", "sluice")]


def is_live(found: Any) -> bool:
    status = found["status"]
    observed = status.get("observedGeneration") == str(found["metadata"]["generation"])
    return bool(observed and status["phase"] == "Healthy" and digest(found) == status["stableRS"])


def stopped(found: Any) -> bool:
    return bool(found["status"].get("abort")) and digest(found) == found["status"]["currentPodHash"]


def bring(plane: Player, name: str = BEFORE, until: Callable[[Any], bool] = is_live) -> Any:
    """Apply a release as `sluice deploy` does, and play until the Rollout is as asked for."""
    api = plane.api
    there = api.find("Rollout", "sluice") is not None
    for one in documents_of(name):
        if not there or one["kind"] in ("ConfigMap", "Rollout"):  # selectors and weights are the controller's
            api.apply(one, force=True)
    while plane.turn():
        if rollout(plane).get("status") and until(rollout(plane)):
            return rollout(plane)
    raise AssertionError(f"{name}: {rollout(plane)['status']}")


def hold(plane: Player, name: str = BEFORE) -> Any:
    """Make an earlier release live, without pods of before."""
    found = bring(plane, name)
    plane.settle()
    return found


def write(plane: Player, **spec: Any) -> None:
    live = rollout(plane)
    plane.api.write({**live, "spec": {**live["spec"], **spec}}, "somebody")


def patches(plane: Player, end: str = "") -> list[str]:
    asked = (path.partition("?")[0] for method, path in plane.api.requests if method == "PATCH")
    return [path for path in asked if path.endswith(end)]


def without_a_template(run: Runner) -> Any:
    gone = run.one("AnalysisTemplate", "load")
    run.documents.remove(gone)
    return gone


def template_hash(api: KubeApi, name: str) -> str:
    (found,) = (one for one in api.all("ReplicaSet") if one["metadata"]["labels"][RELEASE_LABEL] == name)
    return str(found["metadata"]["labels"][HASH_LABEL])


class Runner:
    """Deploys into a played cluster. `during`: done once, when a line with these words is shown."""

    def __init__(self, state: Path) -> None:
        self.cluster = Cluster(state, lost_seconds=3)
        self.documents = documents_of()
        self.lines: list[str] = []
        self.during: dict[str, Callable[[], None]] = {}

    def __call__(self, *, patience: WatchTimeouts = QUICK, seconds: float = 240, **options: bool) -> DeploymentResult:
        self.lines.clear()
        return deploy(self.cluster, self.documents, show=self.show, seconds=seconds, patience=patience, **options)

    def show(self, line: str) -> None:
        self.lines.append(line)
        for words in [one for one in self.during if one in line]:
            self.during.pop(words)()

    def one(self, kind: str, name: str = "sluice") -> Any:
        (found,) = (one for one in self.documents if one["kind"] == kind and one["metadata"]["name"] == name)
        return found

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def weights(self) -> list[int]:
        return [int(one) for one in re.findall(r"weight: canary (\d+) %", self.text)]


def crashing(plane: Player, run: Runner) -> None:
    hold(plane)
    run.one("Rollout")["spec"]["progressDeadlineAbort"] = False
    words = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
    plane.nodes.waiting = {release().id: words}


@pytest.fixture
def plane(loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Player]:  # noqa: ARG001
    with serving(KubeApi()) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        yield Player(api)


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "state")
