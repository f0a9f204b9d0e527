import re
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster import manifests
from sluice.cluster.release_overlay import render_release, rollout_of
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

from .conftest import IMAGE, LOAD_IMAGE, checkout, release


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout whose overlays name their other images."""
    made = checkout(tmp_path_factory.mktemp("checkout"))
    path = made.root / "k8s" / "overlays" / "staging" / "kustomization.yaml"
    path.write_text(path.read_text().replace("0" * 64, "b" * 64))
    path = made.root / "k8s" / "overlays" / "production" / "kustomization.yaml"
    path.write_text(path.read_text().replace("trixie@sha256:" + "0" * 64, "trixie@sha256:" + "b" * 64))
    return made


def test_a_shared_store_has_a_job_for_each_release(workspace: Workspace) -> None:
    def job(index: str) -> Any:
        made = release(index={"digest": index * 64, "embedder": {}, "chunker": {}})
        documents = render_release(workspace, "staging", made, IMAGE)
        (found,) = (one for one in documents if one["kind"] == "Job")
        volumes = found["spec"]["template"]["spec"]["volumes"]
        (mounted,) = (one["configMap"]["name"] for one in volumes if one["name"] == "manifest")
        assert mounted in {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}
        assert found["metadata"]["labels"] == {"app.kubernetes.io/version": made.id, "project": "sluice"}
        steps = found["spec"]["template"]["spec"]
        assert {one["image"] for one in (*steps["initContainers"], *steps["containers"])} == {IMAGE}
        return found

    assert job("3") == job("3")
    names = {job(index)["metadata"]["name"] for index in "34"}
    assert len(names) == 2
    assert all(re.fullmatch("sluice-database-[0-9a-f]{10}", name) for name in names)


def jobs(documents: list[Any]) -> list[Any]:
    return [pod for one in documents if one["kind"] == "AnalysisTemplate" for pod in manifests.pods(one)]


def test_both_images_are_those_that_are_given(workspace: Workspace) -> None:
    documents = render_release(workspace, "production", release(), IMAGE, LOAD_IMAGE)
    pod = rollout_of(documents)["spec"]["template"]["spec"]
    assert {one["image"] for one in (*pod["initContainers"], *pod["containers"])} == {IMAGE}
    assert jobs(documents)
    for job in jobs(documents):
        assert {one["image"] for one in (*job["initContainers"], *job["containers"])} == {LOAD_IMAGE}


def test_a_canary_is_judged_by_its_own_release(workspace: Workspace) -> None:
    documents = render_release(workspace, "local", release(), IMAGE)
    (serving,) = (
        volume["configMap"]["name"]
        for volume in rollout_of(documents)["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "manifest"
    )
    assert serving.startswith("sluice-release-")
    for job in jobs(documents):
        names = {volume["name"]: volume.get("configMap", {}).get("name") for volume in job["volumes"]}
        assert names["manifest"] == serving


def test_an_environment_that_is_not_there(workspace: Workspace) -> None:
    known = sorted(path.name for path in (workspace.root / "k8s" / "overlays").iterdir())
    with pytest.raises(SluiceError, match=f"did you mean '{known[-1]}'") as caught:
        render_release(workspace, known[-1][:-1], release(), IMAGE)
    assert ", ".join(known) in str(caught.value)


@pytest.mark.parametrize(
    ("image", "load_image", "words"),
    [
        (IMAGE, "", "AnalysisTemplate/quality: "),
        ("sluice:latest", LOAD_IMAGE, "sluice:latest: not an image by digest"),
    ],
)
def test_an_image_without_a_digest(workspace: Workspace, image: str, load_image: str, words: str) -> None:
    with pytest.raises(SluiceError, match=words):
        render_release(workspace, "production", release(), image, load_image)


def test_each_environment_has_a_folder_of_backups(tmp_path: Path) -> None:
    """The plugin reads `serverName` (0.14.0, internal/cnpgi/operator/config/config.go:143-149)."""
    workspace = checkout(tmp_path)
    path = workspace.root / "k8s" / "overlays" / "production" / "kustomization.yaml"
    text = path.read_text().replace("cloudnative-pg", "cloudnative-pg-backup", 1).replace("0" * 64, "b" * 64)
    for namespace in ("helpdesk-production", "search-production"):
        path.write_text(text.replace("namespace: sluice-production", f"namespace: {namespace}"))
        documents = render_release(workspace, "production", release(), IMAGE, LOAD_IMAGE)
        (database,) = (one for one in documents if one["kind"] == "Cluster")
        (plugin,) = database["spec"]["plugins"]
        assert plugin["parameters"] == {"barmanObjectName": "postgres", "serverName": f"{namespace}.1"}


def test_a_manifest_that_fits_in_no_configmap(workspace: Workspace) -> None:
    large = release(files={f"config/{number}": "a" * 64 for number in range(15_000)})
    with pytest.raises(SluiceError, match="a ConfigMap holds"):
        render_release(workspace, "local", large, IMAGE)
