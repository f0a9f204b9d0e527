"""Projects and environments that share a cluster: nothing that is rendered for one touches another."""

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cluster import manifests
from sluice.cluster.release_overlay import marked, render_release, rollout_of
from sluice.core.workspace import Workspace
from support.kubernetes.manifests import crowded

from .conftest import IMAGE, LOAD_IMAGE, checkout, release

Documents = list[dict[str, Any]]
# Combinations of all components that differ in each choice between some.
COMBINATIONS = crowded()[::6]


def tenants(seed: str) -> list[tuple[str, str]]:
    """Return two projects, one of whose names begins with the other's, each with two environments."""
    chance = random.Random(seed)
    name, end, *environments = ("".join(chance.choices("abcdefghij", k=chance.randint(3, 6))) for _ in range(4))
    return [(project, environment) for project in (name, f"{name}-{end}") for environment in environments]


def rendered(root: Path, project: str, environment: str, components: tuple[str, ...]) -> Documents:
    root.mkdir()
    workspace = checkout(root)
    folder = workspace.root / "k8s" / "overlays" / environment
    folder.mkdir()
    host = f"{project}-{environment}.example.com"
    target, paths = {"kind": "Ingress", "name": "sluice"}, {"/spec/rules/0/host": host}
    if "ingress-tls" in components:
        routes = range(2 if {"shadow", "ab"} & {*components} else 1)
        target = {"kind": "IngressRoute", "name": "sluice-tls"}
        paths = {f"/spec/routes/{number}/match": f"Host(`{host}`)" for number in routes}
    changes = [{"op": "replace", "path": path, "value": value} for path, value in paths.items()]
    overlay = {
        "namespace": f"{project}-{environment}",
        "labels": [{"pairs": {"project": project}}],
        "resources": ["../../base"],
        "components": [f"../../../engine/k8s/components/{name}" for name in components],
        "patches": [{"target": target, "patch": yaml.safe_dump(changes)}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    pinned = {"newName": "registry.example/x", "digest": "sha256:" + "c" * 64}
    overlay["images"] = [
        {"name": name.partition("@")[0].partition(":")[0], **pinned}
        for name in {image for one in manifests.parse(manifests.render(folder)) for image in images(one)}
        if name.partition(":")[0] not in ("sluice", "sluice-load")
    ]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return render_release(workspace, environment, release(), IMAGE, LOAD_IMAGE)


def images(document: Any) -> Iterator[str]:
    for pod in manifests.pods(document):
        yield from (one["image"] for one in (*pod.get("initContainers", ()), *pod["containers"]))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


def of_kind(documents: Documents, *kinds: str) -> Documents:
    return [one for one in documents if one["kind"] in kinds]


def places(documents: Documents) -> set[tuple[str, str]]:
    return {(one["metadata"].get("namespace", ""), manifests.place(one)) for one in documents}


def secrets(documents: Documents) -> set[str]:
    specs = [one["spec"] for one in of_kind(documents, "ExternalSecret")]
    assert {spec["secretStoreRef"]["kind"] for spec in specs} == {"SecretStore"}, "a store of the namespace"
    found = {one["remoteRef"]["key"] for spec in specs for one in spec.get("data", ())}
    return found | {one["extract"]["key"] for spec in specs for one in spec.get("dataFrom", ())}


def hosts(documents: Documents) -> set[str]:
    routes = of_kind(documents, "IngressRoute")
    found = {host for one in routes for text in strings(one) for host in re.findall(r"Host\(`(.+?)`\)", text)}
    return found | {rule["host"] for one in of_kind(documents, "Ingress") for rule in one["spec"]["rules"]}


def peers(documents: Documents) -> Iterator[dict[str, Any]]:
    """Yield what network policies let in and out of other namespaces."""
    for one in of_kind(documents, "NetworkPolicy"):
        for rule in (*one["spec"].get("ingress", ()), *one["spec"].get("egress", ())):
            yield from (peer for peer in (*rule.get("from", ()), *rule.get("to", ())) if "namespaceSelector" in peer)


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if "matchExpressions" in selector:
        assert selector == {"matchExpressions": [{"key": "project", "operator": "DoesNotExist"}]}
        return "project" not in labels
    return selector.get("matchLabels", {}).items() <= labels.items()


@pytest.mark.parametrize("components", COMBINATIONS, ids=lambda names: f"{names[0]}+{names[1]}")
def test_no_tenant_touches_another(tmp_path: Path, components: tuple[str, ...]) -> None:
    given = tenants(repr(components))
    every = {one: rendered(tmp_path / "-".join(one), *one, components) for one in given}
    for (ours, documents), (theirs, others) in itertools.permutations(every.items(), 2):
        assert places(documents).isdisjoint(places(others))
        assert secrets(documents).isdisjoint(secrets(others))
        assert hosts(documents).isdisjoint(hosts(others))
        namespace = {"kubernetes.io/metadata.name": "-".join(theirs), "project": theirs[0]}
        pods = [
            pod for one in of_kind(others, "Rollout", "Deployment") for pod in [one["spec"]["template"]["metadata"]]
        ]
        for peer in peers(documents):
            reached = selects(peer["namespaceSelector"], namespace)
            assert not (reached and any(selects(peer.get("podSelector", {}), pod["labels"]) for pod in pods)), peer
        for monitor in of_kind(documents, "ServiceMonitor", "PodMonitor"):
            assert "namespaceSelector" not in monitor["spec"], "it reads its own namespace alone"
        named = [text for one in documents for text in strings(one) if re.search(rf"\b{'-'.join(theirs)}\b", text)]
        assert named == [], f"{ours} names {theirs}"
    for (project, environment), documents in every.items():
        assert all(key.startswith(f"{project}/{environment}/") for key in secrets(documents))
        alone = [one["kind"] for one in documents if "namespace" not in one["metadata"]]
        assert alone == ["Namespace"], "nothing else of a whole cluster"
        for rule in of_kind(documents, "PrometheusRule"):
            for alert in (one for group in rule["spec"]["groups"] for one in group["rules"]):
                assert f'"{project}-{environment}' in alert["expr"]
        assert not {"NAMESPACE", "PROJECT", "ENVIRONMENT"} & {
            word for one in of_kind(documents, "IngressRoute", "Cluster", "ExternalSecret", "PrometheusRule")
            for text in strings(one) for word in re.findall(r"\b[A-Z]+\b", text)
        }  # fmt: skip


def test_a_template_of_two_environments_has_two_hashes() -> None:
    template = {"metadata": {}, "spec": {"containers": []}}
    one, other = ({"metadata": {"namespace": name}, "spec": {"template": template}} for name in ("a", "b"))
    assert marked(one)["spec"]["template"] != marked(other)["spec"]["template"]


def test_a_namespace_of_others_can_be_left_out(tmp_path: Path) -> None:
    workspace: Workspace = checkout(tmp_path)
    path = workspace.root / "k8s" / "overlays" / "local" / "kustomization.yaml"
    settings = yaml.safe_load(path.read_text())
    delete = "{$patch: delete, apiVersion: v1, kind: Namespace, metadata: {name: any}}"
    settings["patches"].append({"target": {"kind": "Namespace"}, "patch": delete})
    path.write_text(yaml.safe_dump(settings))
    documents = render_release(workspace, "local", release(), IMAGE)
    assert of_kind(documents, "Namespace") == []
    assert f"sluice-router.{rollout_of(documents)['metadata']['namespace']}.svc" in hosts(documents)
