import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import typer.main

from sluice.cli import app
from sluice.cluster.manifests import Manifest, as_builtin, place, pods
from support.kubernetes.manifests import OVERLAYS, ROOT, combinations, combined, overlay

EVERYTHING = pytest.mark.parametrize("names", [*((name,) for name in OVERLAYS), *combinations()], ids="+".join)
# Made by an operator, with the labels and ports that its documentation names.
OPERATED = {"cnpg.io/cluster"}
# In each namespace by kube-controller-manager, since Kubernetes 1.21 (rootcacertpublisher: RootCACertConfigMapName).
PUBLISHED = ("ConfigMap", "kube-root-ca.crt")
# Keys that hold the name of another object, or objects or lists of them in which one key does.
NAMES = {
    "serviceAccountName": "ServiceAccount", "stableService": "Service", "canaryService": "Service",
    "activeService": "Service", "previewService": "Service", "rootService": "Service",
    "weightedTraefikServiceName": "TraefikService", "templateName": "AnalysisTemplate", "secretName": "Secret",
    "claimName": "PersistentVolumeClaim",
}  # fmt: skip
HOLDERS = {
    "configMapKeyRef": "ConfigMap", "configMapRef": "ConfigMap", "configMap": "ConfigMap",
    "secretKeyRef": "Secret", "secretRef": "Secret",  # pragma: allowlist secret
    "credentials": "Secret", "imagePullSecrets": "Secret", "middlewares": "Middleware",  # pragma: allowlist secret
    "services": "Service", "mirrors": "Service", "service": "Service",
}  # fmt: skip
OWN = {
    "Rollout", "Deployment", "StatefulSet", "Job", "AnalysisTemplate", "IngressRoute", "TraefikService", "Ingress",
    "ServiceMonitor", "ServiceAccount",
}  # fmt: skip


@cache
def documents_of(names: tuple[str, ...]) -> list[Manifest]:
    return overlay(names[0]) if names[0] in OVERLAYS else combined(*names)


def of_kind(documents: list[Manifest], *kinds: str) -> list[Manifest]:
    return [document for document in documents if document["kind"] in kinds]


def templates(documents: list[Manifest]) -> Iterator[tuple[Mapping[str, str], Mapping[str, Any]]]:
    for document in documents:
        for built in as_builtin(document):
            template = built["spec"]["template"]
            yield template.get("metadata", {}).get("labels", {}), template["spec"]


def ports_of(pod: Mapping[str, Any]) -> set[str]:
    return {port["name"] for one in pod["containers"] for port in one.get("ports", ())}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", ()))


def referred(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for inner in value:
            yield from referred(inner)
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if key in NAMES and isinstance(inner, str):
            yield NAMES[key], inner
        elif key in HOLDERS:
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, Mapping) and "name" in one:
                    yield one.get("kind", HOLDERS[key]), one["name"]
        yield from referred(inner)


def secrets() -> dict[str, str]:
    """Return the keys of the documented Secrets that people make."""
    page = (ROOT / "engine" / "docs" / "reference" / "cluster.md").read_text()
    table = page.partition("## Secrets")[2].partition("## Images")[0]
    return {row[0]: row[1] for row in re.findall(r"^\| `([\w-]+)` \| (.*?) \|", table, re.MULTILINE)}


@EVERYTHING
def test_all_that_is_named_is_there(names: tuple[str, ...]) -> None:
    documents, made = documents_of(names), secrets()
    there = {(one["kind"], one["metadata"]["name"]) for one in documents} | {("Secret", name) for name in made}
    named = {(place(one), *found) for one in of_kind(documents, *OWN) for found in referred(one)}
    assert [one for one in named if one[1:] not in there | {PUBLISHED}] == []
    assert {"Service", "ConfigMap", "Secret"} <= {kind for _, kind, _ in named}
    for _, pod in templates(documents):
        claimed = [one["spec"].get("volumeClaimTemplates", ()) for one in of_kind(documents, "StatefulSet")]
        volumes = {one["name"] for one in pod.get("volumes", ())}
        volumes |= {claim["metadata"]["name"] for claims in claimed for claim in claims}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
            for variable in container.get("env", ()):
                if wanted := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert f"`{wanted['key']}`" in made[wanted["name"]]
    for external in of_kind(documents, "ExternalSecret"):
        keys = made[external["spec"]["target"]["name"]]
        assert all(f"`{entry['secretKey']}`" in keys for entry in external["spec"].get("data", ()))


@EVERYTHING
def test_services_routes_and_monitors_find_pods_and_ports(names: tuple[str, ...]) -> None:
    documents = documents_of(names)
    there = list(templates(documents))
    services = [one for one in of_kind(documents, "Service") if one["spec"].get("type") != "ExternalName"]
    for service in services:
        found = [pod for labels, pod in there if service["spec"]["selector"].items() <= labels.items()]
        assert found, place(service)
        for port in service["spec"]["ports"]:
            assert all(port["targetPort"] in ports_of(pod) for pod in found), place(service)
    ports = {one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]} for one in services}
    for route in of_kind(documents, "IngressRoute", "TraefikService"):
        parts = [route["spec"]]
        while parts:
            value = parts.pop()
            parts += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            if isinstance(value, dict) and "port" in value and value.get("name") in ports:
                assert value["port"] in ports[value["name"]], place(route)
    for monitor in of_kind(documents, "ServiceMonitor"):
        watched = [one for one in services if matches(monitor["spec"]["selector"], one["metadata"].get("labels", {}))]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert watched
        assert all(endpoint["port"] in {port["name"] for port in one["spec"]["ports"]} for one in watched)
    for monitor in of_kind(documents, "PodMonitor"):
        selector = monitor["spec"]["selector"]
        found = [pod for labels, pod in there if matches(selector, labels)]
        assert found or set(selector["matchLabels"]) & OPERATED, place(monitor)
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert all(endpoint["port"] in ports_of(pod) for pod in found), place(monitor)


PUBLIC = {"0.0.0.0/0", "::/0"}
# EKS Pod Identity (eks-pod-identity-agent, its two addresses) and NodeLocal DNSCache.
CREDENTIALS = {"169.254.170.23/32", "fd00:ec2::23/128"}


@EVERYTHING
def test_a_network_policy_speaks_of_pods_and_ports_that_are_there(names: tuple[str, ...]) -> None:
    documents = documents_of(names)
    there = list(templates(documents))
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(documents, "NetworkPolicy")}
    for name, spec in policies.items():
        ingress, egress = spec.get("ingress", ()), spec.get("egress", ())
        peers = [peer for rule in ingress for peer in rule.get("from", ())]
        peers += [peer for rule in egress for peer in rule.get("to", ())]
        selectors = [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]
        for selector in (spec["podSelector"], *selectors):
            if not set(selector.get("matchLabels", ())) & OPERATED:
                assert any(matches(selector, labels) for labels, _ in there), f"{name}: {selector}"
        targets = [pod for labels, pod in there if spec["podSelector"] and matches(spec["podSelector"], labels)]
        for port in [port["port"] for rule in ingress for port in rule.get("ports", ())]:
            assert isinstance(port, int) or all(port in ports_of(pod) for pod in targets), f"{name}: {port}"
        blocks = [(rule, peer["ipBlock"]) for rule in egress for peer in rule.get("to", ()) if "ipBlock" in peer]
        out = {(block["cidr"], port["port"]) for rule, block in blocks for port in rule["ports"]}
        for port in {port for cidr, port in out if cidr in PUBLIC}:
            assert {cidr for cidr, other in out if other == port} >= PUBLIC, f"{name}: port {port}"
        if ("0.0.0.0/0", 443) in out and name in ("sluice", "analysis", "database"):
            assert {cidr for cidr, port in out if port == 80} == CREDENTIALS, name
        public = [block for _, block in blocks if block["cidr"] in PUBLIC]
        assert all(block["except"] for block in public), f"{name}: a cloud's metadata address"


def test_a_store_at_another_port_is_reached_by_all_that_reach_one_at_443() -> None:
    documents = combined("cloudnative-pg-backup", "llm-vllm", "mlflow", "monitoring", "store-port")
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(documents, "NetworkPolicy")}
    # CloudNativePG's own labels (1.30.0, pkg/specs/pods.go:549, AppName)
    operated = {"cnpg.io/cluster": "postgres", "app.kubernetes.io/name": "postgresql"}
    every = [operated, *(labels for labels, _ in templates(documents))]
    out = [spec["podSelector"] for spec in policies.values() if "'port': 443" in str(spec.get("egress"))]
    reaching = [labels for labels in every if any(matches(selector, labels) for selector in out)]
    assert len(reaching) >= 6
    assert all(matches(policies["store-port"]["podSelector"], labels) for labels in reaching)
    # The plugin's container asks the agent for its role. The instance asks the plugin over a socket of the pod
    # (CloudNativePG 1.30.0, internal/cmd/manager/instance/run/cmd.go:248).
    (rule,) = policies["postgres-backup"]["egress"]
    assert {peer["ipBlock"]["cidr"] for peer in rule["to"]} == CREDENTIALS


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_job_of_an_analysis_may_reach_the_service(name: str) -> None:
    documents = overlay(name)
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(documents, "NetworkPolicy")}
    allowed = [one["podSelector"] for one in policies["sluice"]["ingress"][0]["from"] if "namespaceSelector" not in one]
    jobs = [labels for labels, _ in templates(of_kind(documents, "AnalysisTemplate"))]
    assert jobs
    for labels in jobs:
        assert matches(policies["analysis"]["podSelector"], labels), labels
        assert any(matches(selector, labels) for selector in allowed), labels


def test_the_arguments_of_the_service_are_those_of_the_command_line() -> None:
    root, checked = typer.main.get_command(app), 0
    for document in of_kind(combined("monitoring", "database"), "Rollout", "Job", "AnalysisTemplate"):
        for pod in pods(document):
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                if "command" not in container:
                    root.main([*container["args"], "--help"], prog_name="sluice", standalone_mode=False)
                    checked += 1
    assert checked >= 5
