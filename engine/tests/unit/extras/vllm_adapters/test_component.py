from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from sluice.cluster.manifests import Manifest
from sluice.cluster.release_overlay import render_release
from sluice.core.settings import read_yaml
from sluice.core.workspace import Workspace
from sluice.extras.vllm_adapters import cli
from starter_files import copy_starter
from support.kubernetes.manifests import combined, one
from unit.extras.vllm_adapters.releases import ReleaseShelf
from unit.extras.vllm_adapters.vllm_process import played_adapter

IMAGES = [f"registry.example/sluice@sha256:{letter * 64}" for letter in "ab"]
LOAD_IMAGE = "registry.example/sluice-load@sha256:" + "c" * 64


def containers(document: Manifest) -> dict[str, dict[str, Any]]:
    spec = document["spec"]["template"]["spec"]
    return {each["name"]: dict(each) for each in (*spec.get("initContainers", ()), *spec["containers"])}


@pytest.fixture(scope="module")
def documents() -> list[Manifest]:
    return combined("llm-vllm")


@pytest.fixture(scope="module")
def deployment(documents: list[Manifest]) -> Manifest:
    return one(documents, "Deployment", "vllm")


def test_the_arguments_are_those_of_the_command_line(documents: list[Manifest], deployment: Manifest) -> None:
    root = typer.main.get_command(cli.group)
    for container in (containers(deployment)["adapters"], containers(one(documents, "Rollout", "sluice"))["adapter"]):
        noun, *words = container["args"]
        assert noun == "adapters"
        with root.make_context("adapters", words, resilient_parsing=False) as context:
            name, command, rest = root.resolve_command(context, words)  # type: ignore[attr-defined]
            assert name in ("load", "await")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SLUICE_ARTEFACTS", "s3://artefacts")
                command.make_context(name, list(rest), parent=context).close()


def test_the_adapter_is_awaited_after_the_release_was_fetched(documents: list[Manifest]) -> None:
    rollout = one(documents, "Rollout", "sluice")
    assert [each["name"] for each in rollout["spec"]["template"]["spec"]["initContainers"]] == ["release", "adapter"]
    (address,) = (word for word in containers(rollout)["adapter"]["args"] if word.startswith("http"))
    pods = one(documents, "Service", "vllm-pods")["spec"]
    assert address == f"http://vllm-pods:{pods['ports'][0]['port']}"
    assert pods["clusterIP"] == "None", "each pod is asked"
    assert not pods.get("publishNotReadyAddresses"), "one that starts is not waited for"


def test_the_token_is_the_loaders_alone_and_reads_no_secret(documents: list[Manifest], deployment: Manifest) -> None:
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    having = [name for name, each in containers(deployment).items() if "account" in str(each["volumeMounts"])]
    assert having == ["adapters"]
    rules = one(documents, "Role", "vllm")["rules"]
    assert [(rule["resources"], rule["verbs"]) for rule in rules] == [
        (["replicasets"], ["list"]),
        (["configmaps"], ["get"]),
    ]
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    (subject,) = one(documents, "RoleBinding", "vllm")["subjects"]
    assert (subject["kind"], subject["name"]) == ("ServiceAccount", account)
    assert subject["namespace"] == "sluice-test", "the namespace of the overlay"


def test_runtime_registration_is_on_and_behind_the_middleware(documents: list[Manifest], deployment: Manifest) -> None:
    vllm = containers(deployment)["vllm"]
    variables = {each["name"]: each["value"] for each in vllm["env"]}
    assert variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert "--middleware=loopback_admin.LoopbackAdmin" in vllm["args"]
    (mount,) = (each for each in vllm["volumeMounts"] if each["mountPath"] == variables["PYTHONPATH"])
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    name = volumes[mount["name"]]["configMap"]["name"]
    assert "class LoopbackAdmin" in one(documents, "ConfigMap", name)["data"]["loopback_admin.py"]


def test_a_volume_of_artefacts_and_a_private_registry_reach_the_loader() -> None:
    documents = combined("llm-vllm", "artefacts-volume", "private-images")
    loader = containers(one(documents, "Deployment", "vllm"))["adapters"]
    assert {"name": "artefacts", "mountPath": "/artefacts", "readOnly": True} in loader["volumeMounts"]
    assert one(documents, "ServiceAccount", "vllm")["imagePullSecrets"] == [{"name": "sluice-registry"}]


def test_a_deployment_of_a_release_with_another_image_restarts_no_vllm(tmp_path: Path) -> None:
    """A changed pod template is a restart: neither release, image nor adapter is in that of vLLM."""
    copy_starter(tmp_path, "k8s")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "pyproject.toml").touch()
    path = tmp_path / "k8s" / "overlays" / "local" / "kustomization.yaml"
    overlay = read_yaml(path)[0]
    overlay["components"] = ["../../../engine/k8s/components/llm-vllm"]
    for name, there in (
        ("vllm", "docker.io/vllm/vllm-openai"),
        ("sluice-adapters", "registry.example/sluice-adapters"),
    ):
        overlay["images"].append({"name": name, "newName": there, "digest": "sha256:" + "d" * 64})
    path.write_text(yaml.safe_dump(overlay))
    shelf = ReleaseShelf(tmp_path / "shelf")
    rendered = [
        render_release(Workspace(tmp_path), "local", shelf.make(played_adapter(says)), image, LOAD_IMAGE)
        for says, image in zip(("alpha", "bravo"), IMAGES, strict=True)
    ]
    first, second = (one(documents, "Deployment", "vllm") for documents in rendered)
    assert first == second
    rollouts = [containers(one(documents, "Rollout", "sluice")) for documents in rendered]
    assert [rollout["adapter"]["image"] for rollout in rollouts] == IMAGES, "what waits is of the release"
