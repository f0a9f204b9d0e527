"""What a manifest names exists: Services, ports, arguments, Secrets, ConfigMaps, claims, metrics, labels of pods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer.main

from sluice.cli import app
from sluice.cluster.manifests import Manifest, as_builtin, place, pods
from support.kubernetes.manifests import OVERLAYS, ROOT, combinations, combined, overlay

EVERYTHING = [("overlay", name) for name in OVERLAYS] + [("components", names) for names in combinations()]
NAMED = pytest.mark.parametrize(
    "what", EVERYTHING, ids=lambda what: what[1] if isinstance(what[1], str) else "+".join(what[1])
)
# Made by an operator, with the labels and ports that its documentation names.
OPERATED = {"cnpg.io/cluster": {5432, 8000}}
# In each namespace by kube-controller-manager, since Kubernetes 1.21 (rootcacertpublisher: RootCACertConfigMapName).
PUBLISHED = {"kube-root-ca.crt"}


def documents_of(what: tuple[str, Any]) -> list[Manifest]:
    return overlay(what[1]) if what[0] == "overlay" else combined(*what[1])


def of_kind(documents: list[Manifest], *kinds: str) -> list[Manifest]:
    return [document for document in documents if document["kind"] in kinds]


def names(documents: list[Manifest], *kinds: str) -> set[str]:
    return {document["metadata"]["name"] for document in of_kind(documents, *kinds)}


def templates(documents: list[Manifest]) -> Iterator[tuple[Mapping[str, str], Mapping[str, Any]]]:
    """Labels and spec of every pod template."""
    for document in documents:
        for built in as_builtin(document):
            template = built["spec"]["template"]
            yield template.get("metadata", {}).get("labels", {}), template["spec"]


def ports_of(pod: Mapping[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for one in pod["containers"] for port in one.get("ports", ())}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", ()))


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


@NAMED
def test_a_service_finds_pods_and_their_port(what: tuple[str, Any]) -> None:
    documents = documents_of(what)
    for service in of_kind(documents, "Service"):
        if service["spec"].get("type") == "ExternalName":
            continue  # another name for a Service of another namespace
        found = [
            pod for labels, pod in templates(documents) if matches({"matchLabels": service["spec"]["selector"]}, labels)
        ]
        assert found, place(service)
        for port in service["spec"]["ports"]:
            assert all(port["targetPort"] in ports_of(pod) for pod in found), place(service)


@NAMED
def test_a_route_leads_to_a_service_and_a_port_of_it(what: tuple[str, Any]) -> None:
    documents = documents_of(what)
    services = {one["metadata"]["name"]: one["spec"].get("ports", ()) for one in of_kind(documents, "Service")}
    routed = 0
    for document in of_kind(documents, "IngressRoute", "TraefikService"):
        for key, value in walk(document["spec"]):
            for entry in value if key in ("services", "mirrors") else ():
                routed += 1
                if entry.get("kind") == "TraefikService":
                    assert entry["name"] in names(documents, "TraefikService"), place(document)
                else:
                    assert entry["port"] in {port["port"] for port in services[entry["name"]]}, place(document)
            for entry in value if key == "middlewares" else ():
                assert entry["name"] in names(documents, "Middleware"), place(document)
    for document in of_kind(documents, "Ingress"):
        routed += 1
        assert document["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] in services
    assert routed
    for document in of_kind(documents, "Rollout"):
        for key, value in walk(document["spec"]["strategy"]):
            if key in ("stableService", "canaryService", "activeService", "previewService", "rootService"):
                assert value in services, key
            elif key == "weightedTraefikServiceName":
                assert value in names(documents, "TraefikService")
            elif key == "templateName":
                assert value in names(documents, "AnalysisTemplate")


@NAMED
def test_a_pod_finds_its_volumes_secrets_and_account(what: tuple[str, Any]) -> None:
    documents = documents_of(what)
    page = (
        (ROOT / "engine" / "docs" / "reference" / "cluster.md")
        .read_text()
        .partition("## Secrets")[2]
        .partition("## Images")[0]
    )
    secrets = {row[0]: row[1] for row in re.findall(r"^\| `([\w-]+)` \| (.*?) \|", page, re.MULTILINE)}
    for _, pod in templates(documents):
        assert pod.get("serviceAccountName", "sluice") in names(documents, "ServiceAccount")
        claims = {
            claim["metadata"]["name"]
            for one in of_kind(documents, "StatefulSet")
            for claim in one["spec"]["volumeClaimTemplates"]
        }
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            for mount in container.get("volumeMounts", ()):
                assert mount["name"] in {volume["name"] for volume in pod.get("volumes", ())} | claims
        for key, value in walk(pod):
            if key == "configMap":
                assert value["name"] in names(documents, "ConfigMap") | PUBLISHED
            elif key == "configMapKeyRef":
                (data,) = (
                    one["data"] for one in of_kind(documents, "ConfigMap") if one["metadata"]["name"] == value["name"]
                )
                assert value["key"] in data
            elif key == "persistentVolumeClaim":
                assert value["claimName"] in names(documents, "PersistentVolumeClaim")
            elif key == "secret":
                assert value["secretName"] in secrets
            elif key == "secretKeyRef":
                assert f"`{value['key']}`" in secrets[value["name"]], value
            elif key == "secretRef":
                assert value["name"] in secrets
    for document in of_kind(documents, "ServiceMonitor"):
        (endpoint,) = document["spec"]["endpoints"]
        assert endpoint["authorization"]["credentials"]["name"] in secrets
        watched = [
            one
            for one in of_kind(documents, "Service")
            if matches(document["spec"]["selector"], one["metadata"].get("labels", {}))
        ]
        assert watched
        assert all(endpoint["port"] in {port["name"] for port in one["spec"]["ports"]} for one in watched)
    for document in of_kind(documents, "PodMonitor"):
        selector = document["spec"]["selector"]
        found = [pod for labels, pod in templates(documents) if matches(selector, labels)]
        assert found or set(selector["matchLabels"]) & set(OPERATED), place(document)
        for endpoint in document["spec"]["podMetricsEndpoints"]:
            assert all(endpoint["port"] in ports_of(pod) for pod in found), place(document)
    for document in of_kind(documents, "ServiceAccount"):
        assert {one["name"] for one in document.get("imagePullSecrets", ())} <= set(secrets)
    for document in of_kind(documents, "ExternalSecret"):
        keys = secrets[document["spec"]["target"]["name"]]
        if "dataFrom" in document["spec"]:  # all that is there, whatever its names
            assert "data" not in document["spec"]
            continue
        (entry,) = document["spec"]["data"]
        assert f"`{entry['secretKey']}`" in keys


@NAMED
def test_a_network_policy_speaks_of_pods_and_ports_that_are_there(what: tuple[str, Any]) -> None:
    documents = documents_of(what)
    there = list(templates(documents))
    for policy in of_kind(documents, "NetworkPolicy"):
        selectors = [policy["spec"]["podSelector"]]
        rules = [rule for way in ("ingress", "egress") for rule in policy["spec"].get(way, ())]
        for rule in rules:
            for peer in (*rule.get("from", ()), *rule.get("to", ())):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    selectors.append(peer["podSelector"])
        for selector in selectors:
            if not set(selector.get("matchLabels", ())) & set(OPERATED):
                assert any(matches(selector, labels) for labels, _ in there), f"{place(policy)}: {selector}"
        if not policy["spec"]["podSelector"]:
            continue
        targets = [pod for labels, pod in there if matches(policy["spec"]["podSelector"], labels)]
        for rule in policy["spec"].get("ingress", ()):
            for port in rule["ports"]:
                if targets and isinstance(port["port"], str):
                    assert all(port["port"] in ports_of(pod) for pod in targets), place(policy)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_job_of_an_analysis_may_reach_the_service(name: str) -> None:
    documents = overlay(name)
    jobs = [labels for labels, pod in templates(of_kind(documents, "AnalysisTemplate"))]
    assert jobs
    (out,) = (
        one["spec"]["podSelector"]
        for one in of_kind(documents, "NetworkPolicy")
        if one["metadata"]["name"] == "analysis"
    )
    (service,) = (one for one in of_kind(documents, "NetworkPolicy") if one["metadata"]["name"] == "sluice")
    allowed = [peer["podSelector"] for peer in service["spec"]["ingress"][0]["from"] if "namespaceSelector" not in peer]
    for labels in jobs:
        assert matches(out, labels), labels
        assert any(matches(selector, labels) for selector in allowed), labels


def test_the_arguments_of_the_service_are_those_of_the_command_line() -> None:
    documents = combined("monitoring", "database")
    root = typer.main.get_command(app)
    checked = 0
    for document in of_kind(documents, "Rollout", "Job", "AnalysisTemplate"):
        for pod in pods(document):
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                if "command" not in container:
                    root.main([*container["args"], "--help"], prog_name="sluice", standalone_mode=False)
                    checked += 1
    assert checked >= 5


PUBLIC = {"0.0.0.0/0", "::/0"}
# EKS Pod Identity (eks-pod-identity-agent, its two addresses) and NodeLocal DNSCache.
CREDENTIALS = {"169.254.170.23/32", "fd00:ec2::23/128"}


def reached(policy: Manifest) -> set[tuple[str, Any]]:
    """(addresses, port) of what a policy lets out."""
    return {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in policy["spec"].get("egress", ())
        for peer in rule.get("to", ())
        if "ipBlock" in peer
        for port in rule["ports"]
    }


@NAMED
def test_what_leaves_leaves_by_both_families_and_finds_its_credentials(what: tuple[str, Any]) -> None:
    """Whoever fetches from a bucket asks an agent on its node for credentials, and nobody asks a node's own."""
    documents = documents_of(what)
    fetching = 0
    for policy in of_kind(documents, "NetworkPolicy"):
        out = reached(policy)
        for port in {port for cidr, port in out if cidr in PUBLIC}:
            assert {cidr for cidr, other in out if other == port} >= PUBLIC, f"{place(policy)}: port {port}"
        if (("0.0.0.0/0", 443)) in out and policy["metadata"]["name"] in ("sluice", "analysis", "database"):
            fetching += 1
            assert {cidr for cidr, port in out if port == 80} == CREDENTIALS, place(policy)
        for rule in policy["spec"].get("egress", ()):
            for peer in rule.get("to", ()):
                if peer.get("ipBlock", {}).get("cidr") in PUBLIC:
                    assert peer["ipBlock"]["except"], f"{place(policy)}: a cloud's metadata address"
    assert fetching >= 2
    (names_of,) = (one for one in of_kind(documents, "NetworkPolicy") if one["metadata"]["name"] == "dns")
    assert ("169.254.20.10/32", 53) in reached(names_of)
