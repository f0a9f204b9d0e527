"""Jobs before the pods, against the stub API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.deploy_release import deploy
from sluice.cluster.kubectl import Cluster
from sluice.cluster.release_overlay import render_release
from sluice.core.errors import SluiceError
from support.kubernetes.api_server import KubeApi, serving, status

from .cluster import IMAGE, checkout, hold, recording, release
from .test_deploy import QUICK

FAILED = {"job": {"name": "migrate-1", "message": "Job has reached the specified backoff limit"}}
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "migrate-1", "namespace": "sluice-local"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": IMAGE}]}}},
}


@pytest.fixture
def api(loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:  # noqa: ARG001
    with serving(KubeApi()) as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        hold(stub)
        yield stub


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    workspace = checkout(tmp_path_factory.mktemp("checkout"))
    return [*render_release(workspace, "local", release(), IMAGE), JOB]


def run(tmp_path: Path, documents: list[Any]) -> tuple[str, list[str]]:
    lines: list[str] = []
    cluster = Cluster(tmp_path / "state", lost_seconds=3)
    return deploy(cluster, documents, show=lines.append, seconds=240, patience=QUICK).kind, lines


def writes(api: KubeApi) -> list[str]:
    """Names of what was applied, in order."""
    applied = [path for method, path in api.requests if method == "PATCH" and "fieldManager=" in path]
    return [path.partition("?")[0].rpartition("/")[2] for path in applied]


def test_jobs_run_before_the_rollout(api: KubeApi, tmp_path: Path, documents: list[Any]) -> None:
    api.recording = recording("promoted")
    kind, lines = run(tmp_path, documents)
    assert kind == "promoted"
    assert writes(api)[-2:] == ["migrate-1", "sluice"]
    assert "job migrate-1: done" in lines


def test_a_job_that_fails_leaves_the_rollout_alone(api: KubeApi, tmp_path: Path, documents: list[Any]) -> None:
    pod = {"pod": {"name": "migrate-1-x", "job": "migrate-1", "phase": "Failed"}}
    api.recording = {"jobs": [pod, FAILED]}
    api.logs["migrate-1-x"] = "relation is locked\n"
    with pytest.raises(SluiceError, match="relation is locked"):
        run(tmp_path, documents)
    assert "sluice" not in writes(api)[-1:]
    assert api.objects[api.path("Rollout", "sluice")]["metadata"]["generation"] == 1


def test_a_job_that_failed_before_is_made_anew(api: KubeApi, tmp_path: Path, documents: list[Any]) -> None:
    api.recording = {"jobs": [FAILED]}
    with pytest.raises(SluiceError, match="deploying again runs the job again"):
        run(tmp_path, documents)
    api.recording = recording("promoted")
    kind, lines = run(tmp_path, documents)
    assert kind == "promoted"
    assert "job migrate-1: failed before, once more" in lines
    assert [path.partition("?")[0] for method, path in api.requests if method == "DELETE"] == [
        api.path("Job", "migrate-1")
    ]


def test_a_job_that_was_done_before_is_not_made_anew(api: KubeApi, tmp_path: Path, documents: list[Any]) -> None:
    api.recording = recording("promoted")
    run(tmp_path, documents)
    assert run(tmp_path, documents)[0] == "unchanged"
    assert not [path for method, path in api.requests if method == "DELETE"]


def test_why_a_job_does_not_start_is_told_once(api: KubeApi, tmp_path: Path, documents: list[Any]) -> None:
    waiting = {"reason": "ErrImagePull", "message": "manifest for the digest not found"}
    pod = {"pod": {"name": "migrate-1-x", "job": "migrate-1", "phase": "Pending", "waiting": waiting}}
    done = {"job": {"name": "migrate-1", "done": True}}
    api.recording = {**recording("promoted"), "jobs": [pod, {"wait": 4}, done]}
    kind, lines = run(tmp_path, documents)
    assert kind == "promoted"
    assert lines.count("job migrate-1: pod migrate-1-x: ErrImagePull: manifest for the digest not found") == 1


def test_a_job_whose_pods_may_not_be_seen_decides_by_itself(api: KubeApi, tmp_path: Path, documents: list[Any]) -> None:
    words = 'pods is forbidden: User "ci" cannot list resource "pods"'
    api.refuse["GET", "/pods"] = status(403, "Forbidden", words)
    api.recording = recording("promoted")
    assert run(tmp_path, documents)[0] == "promoted"
