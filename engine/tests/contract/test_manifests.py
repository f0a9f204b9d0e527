import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cluster.manifests import (
    KUBERNETES,
    PLACEHOLDER,
    VERSIONS,
    Manifest,
    parse,
    place,
    pods,
    render,
    unpinned,
    validate,
)
from sluice.core.errors import ValidationErrors
from sluice.core.settings import load_settings
from sluice.serving.settings import ServiceSettings
from starter_files import STARTER
from support.kubernetes.manifests import (
    ENGINE,
    K8S,
    OVERLAYS,
    ROOT,
    SCHEMAS,
    combination,
    combinations,
    combined,
    distinct,
    documented,
    everything,
    one,
    overlay,
    overlay_text,
)

FOLDERS = [ENGINE / "base", K8S / "base", *sorted(ENGINE.glob("components/*")), *sorted(K8S.glob("overlays/*"))]


@pytest.mark.parametrize("names", combinations(), ids="+".join)
def test_a_combination_validates(names: tuple[str, ...]) -> None:
    validate(combined(*names), SCHEMAS)


@pytest.mark.parametrize("name", ["shadow", "ab"])
def test_visitors_by_tls_are_led_as_others_or_the_overlay_is_refused(name: str) -> None:
    validate(combined("ingress-tls", name), SCHEMAS)
    with pytest.raises(ValidationErrors, match=r"IngressRoute/sluice and IngressRoute/sluice-tls: .* list ingress-tls"):
        validate(combined(name, "ingress-tls"), SCHEMAS)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_validates_and_renders_to_what_is_kept(name: str) -> None:
    validate(overlay(name), SCHEMAS)
    kept = ROOT / "engine" / "tests" / "golden" / "k8s" / f"{name}.yaml"
    assert overlay_text(name) == kept.read_text(), "see the difference; then engine/scripts/write_golden_manifests.py"


@pytest.mark.parametrize("kubernetes", VERSIONS)
def test_each_version_of_kubernetes_takes_everything(kubernetes: str) -> None:
    for document in distinct():
        validate([document], SCHEMAS, kubernetes=kubernetes)


def _kustomization(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return document


@pytest.mark.parametrize("folder", [*FOLDERS, ENGINE / "analysis"], ids=lambda path: path.name)
def test_every_file_of_a_folder_is_used(folder: Path) -> None:
    spec = _kustomization(folder)
    used = {name for name in spec.get("resources", ()) if "/" not in name} | {
        *spec.get("configurations", ()),
        *spec.get("transformers", ()),
    }
    used |= {one["path"] for one in (*spec.get("patches", ()), *spec.get("replacements", ())) if "path" in one}
    for generator in spec.get("configMapGenerator", ()):
        used |= {entry.rpartition("=")[2] for entry in generator.get("files", ())}
    assert used | {"kustomization.yaml"} == {path.name for path in folder.iterdir()}


def test_images_are_named_by_digest() -> None:
    for name in OVERLAYS:
        assert not unpinned(overlay(name)), name
        for entry in _kustomization(K8S / "overlays" / name)["images"]:
            assert "newTag" not in entry
            assert entry["digest"] == PLACEHOLDER, "the repository knows no build; a deployment sets its digest"


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_is_in_one_namespace_that_is_restricted(name: str) -> None:
    documents = overlay(name)
    (namespace,) = (document for document in documents if document["kind"] == "Namespace")
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"] == f"v{KUBERNETES}"
    where = {document["metadata"].get("namespace") for document in documents if document["kind"] != "Namespace"}
    assert where == {namespace["metadata"]["name"]}


def test_a_pod_has_only_volumes_that_restricted_allows() -> None:
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}
    allowed |= {"persistentVolumeClaim"}
    for name, documents in everything():
        for document in documents:
            for pod in pods(document):
                for volume in pod.get("volumes", ()):
                    assert set(volume) - {"name"} <= allowed, f"{name}: {place(document)}: {volume['name']}"


def test_autoscaling_and_the_rollout_do_not_both_say_how_many() -> None:
    documents = combined("autoscaling")
    rollout = one(documents, "Rollout", "sluice")
    assert "replicas" not in rollout["spec"]
    assert not rollout["spec"]["strategy"]["canary"].get("dynamicStableScale"), "an abort must find stable large enough"
    scaler = one(documents, "HorizontalPodAutoscaler", "sluice")["spec"]
    assert scaler["scaleTargetRef"]["name"] == rollout["metadata"]["name"]
    assert scaler["scaleTargetRef"]["apiVersion"] == rollout["apiVersion"]
    limits = load_settings(STARTER / "config" / "service.yaml", ServiceSettings).limits
    (in_flight,) = (metric["pods"] for metric in scaler["metrics"] if metric["type"] == "Pods")
    assert int(in_flight["target"]["averageValue"]) * 2 == limits.max_concurrent
    assert any(metric["type"] == "Resource" for metric in scaler["metrics"]), "without an adapter CPU has to do"


@pytest.mark.parametrize("component", ["provider-keys", "provider-keys-external"])
def test_keys_of_hosted_models_reach_the_service_and_nobody_else(component: str) -> None:
    documents = combined(component)
    having = [
        (document["kind"], document["metadata"]["name"], container["name"])
        for document in documents
        for pod in pods(document)
        for container in (*pod.get("initContainers", ()), *pod["containers"])
        if container.get("envFrom") == [{"secretRef": {"name": "sluice-provider-keys"}}]
    ]
    assert having == [("Rollout", "sluice", "sluice")]
    made = [one["spec"]["target"]["name"] for one in documents if one["kind"] == "ExternalSecret"]
    assert made == ["sluice-provider-keys"] * (component == "provider-keys-external")


def test_a_private_registry_is_opened_for_every_pod_of_own_images() -> None:
    for names in documented():
        documents = combined(*dict.fromkeys((*names, "private-images")))
        assert one(documents, "ServiceAccount", "sluice")["imagePullSecrets"] == [{"name": "sluice-registry"}]
        every = [pod for document in documents for pod in pods(document)]
        images = [{re.split("[@:]", one["image"])[0] for one in pod["containers"]} for pod in every]
        own = [pod for pod, named in zip(every, images, strict=True) if named & {"sluice", "sluice-load"}]
        assert len(own) >= 3
        for pod in own:
            assert pod["serviceAccountName"] == "sluice"
            assert "imagePullSecrets" not in pod, "its own would replace those of the account"


def patched(folder: Path, words: str, page: str = "cluster", *components: str) -> list[Manifest]:
    """Render with the patches of a page of engine/docs/reference/ that have these words."""
    text = (ROOT / "engine" / "docs" / "reference" / f"{page}.md").read_text()
    (block,) = (one for one in re.findall(r"^```\n(patches:\n.*?)^```", text, re.M | re.S) if words in one)
    path = combination(folder / "overlay", components or ("monitoring", "notifications")) / "kustomization.yaml"
    path.write_text(path.read_text() + block)
    documents = parse(render(path.parent))
    validate(documents, SCHEMAS)
    return documents


def test_an_overlay_names_another_domain_and_other_channels(tmp_path: Path) -> None:
    documents = patched(tmp_path, "externalName")
    assert "svc.corp.example" in json.dumps(documents)
    assert "cluster.local" not in json.dumps(documents)
    # A trigger is `on-` and the reason of an event (1.9.1, utils/record/record.go: translateReasonToTrigger).
    assert one(patched(tmp_path, "helpdesk-alerts"), "Rollout", "sluice")["metadata"]["annotations"] == {
        "notifications.argoproj.io/subscribe.on-rollout-aborted.slack": "helpdesk-alerts",
        "notifications.argoproj.io/subscribe.on-rollout-completed.slack": "helpdesk-releases",
    }


@pytest.mark.parametrize(("words", "key"), [("sluice-prometheus", "headers"), ("sigv4", "authentication")])
def test_every_analysis_logs_in_to_prometheus(tmp_path: Path, words: str, key: str) -> None:
    """A header's value takes an argument, and that a Secret (1.9.1, analysis/analysis.go: resolveArgs;
    metricproviders/prometheus/prometheus.go: NewPrometheusAPI). Amazon's is known by `aps-workspaces`."""
    asked = [one["spec"] for one in patched(tmp_path, words) if "prometheus-url" in str(one)]
    assert len(asked) == len(list((ENGINE / "analysis").glob("*.yaml"))) - 5, "all but Jobs, their Service, the list"
    for spec in asked:
        provider = spec["metrics"][0]["provider"]["prometheus"]
        assert re.match("https://(aps-workspaces|prometheus)", provider["address"])
        assert set(re.findall(r"args\.([\w-]+)", str(provider[key]))) <= {arg["name"] for arg in spec["args"]}


def test_on_openshift_no_pod_names_a_user_and_every_pod_reaches_dns() -> None:
    documents = combined("monitoring", "pgvector", "mlflow", "llm-vllm", "postgres-exporter", "openshift")
    every = [pod["securityContext"] for document in documents for pod in pods(document)]
    assert len(every) >= 9
    assert not [one for one in every if {"runAsUser", "runAsGroup", "fsGroup"} & one.keys() or not one["runAsNonRoot"]]
    (dns,) = (rule for rule in one(documents, "NetworkPolicy", "dns")["spec"]["egress"] if "openshift-dns" in str(rule))
    assert {port["port"] for port in dns["ports"]} == {5353}


@pytest.mark.parametrize("words", ["s3://helpdesk-backups", "role-arn", "endpointURL", "18.4-system", "7480"])
def test_the_settings_of_backups_are_valid(tmp_path: Path, words: str) -> None:
    page = "cluster" if words[0].isdigit() else "backups"
    assert words in json.dumps(patched(tmp_path, words, page, "cloudnative-pg-backup", "store-port"))


def test_a_restored_database_reads_the_old_folder_and_writes_to_the_next(tmp_path: Path) -> None:
    """An archive with another history is refused (plugin 0.14.0, internal/cnpgi/common/wal.go:169-180)."""
    spec = one(patched(tmp_path, "recovery", "backups", "cloudnative-pg-backup"), "Cluster", "postgres")["spec"]
    (source,) = spec["externalClusters"]
    assert spec["bootstrap"].keys() == {"recovery"}
    assert spec["bootstrap"]["recovery"]["source"] == source["name"]
    made = one(combined("cloudnative-pg"), "Cluster", "postgres")["spec"]["bootstrap"]["initdb"]
    assert all(spec["bootstrap"]["recovery"][key] == made[key] for key in ("database", "owner"))
    (old, new) = (it["parameters"] for it in (source["plugin"], *spec["plugins"]))
    assert old["barmanObjectName"] == new["barmanObjectName"]
    assert (old["serverName"].split(".")[1], new["serverName"]) == ("1", "NAMESPACE.2")
