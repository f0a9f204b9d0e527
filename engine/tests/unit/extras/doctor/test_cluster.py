import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cluster.manifests import ARGO_FLAGS
from sluice.extras.doctor import cluster
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from starter_files import STARTER as FILES
from starter_files import copy_starter
from support.kubernetes.api_server import KubeApi, serving, status
from unit.core.starter import STARTER

NAMES = STARTER
NAMESPACE = f"{NAMES.name}-local"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[KubeApi]:  # noqa: ARG001
    """A cluster for the overlay `local`."""
    running = KubeApi(NAMESPACE)
    monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig")))
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl keeps what it has discovered there
    put(running, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    put(running, controller(*ARGO_FLAGS))
    put(running, traefik("--providers.kubernetesCRD.safeNaming=true"))
    for name in ("keys", "load-key"):
        put(running, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{NAMES.name}-{name}"}})
    with serving(running):
        yield running


def put(api: KubeApi, document: Any) -> None:
    api.write(document, "somebody")


def controller(*flags: str, version: str = ":v1.9.1") -> dict[str, Any]:
    """The Deployment of Argo Rollouts 1.9.1 as its manifests/install.yaml names and labels it."""
    labels = {"app.kubernetes.io/name": "argo-rollouts", "app.kubernetes.io/component": "rollouts-controller"}
    container = {"name": "argo-rollouts", "image": f"quay.io/argoproj/argo-rollouts{version}", "args": list(flags)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "argo-rollouts", "labels": labels},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def traefik(*flags: str) -> dict[str, Any]:
    """The Deployment of Traefik 3.7.9 as its chart (41.1.0) labels it, in the namespace of the stub."""
    container = {"name": "traefik", "image": "docker.io/traefik:v3.7.9", "args": ["--providers.kubernetescrd", *flags]}
    spec = {"template": {"spec": {"containers": [container]}}}
    metadata = {"name": "traefik", "labels": {"app.kubernetes.io/name": "traefik"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def look(overlay: str = "local", context: str = "") -> dict[str, Diagnosis]:
    return {one.what: one for one in cluster.check(DiagnosisScope(FILES, NAMES, {}, (overlay,), context))}


def test_all_is_there(api: KubeApi) -> None:
    found = look()
    assert {what: one.found for what, one in found.items() if one.state != "ok"} == {}
    assert {"API server", f"local: namespace {NAMESPACE}", f"local: Secret {NAMES.name}-keys"} <= set(found)
    assert (found["Kubernetes: version"].found, found["Traefik: version"].found) == ("v1.34.1", "v3.7.9")
    assert {f"local: kinds of {group}" for group in ("argoproj.io", "traefik.io")} <= set(found)
    assert {method for method, _ in api.requests} == {"GET", "POST"}, "questions only"


def test_what_is_missing_comes_with_what_mends_it(api: KubeApi) -> None:
    api.missing_groups = {"argoproj.io"}
    api.delete("Secret", f"{NAMES.name}-keys")
    api.delete("Namespace", NAMESPACE)
    api.denied = {("patch", "rollouts/status"), ("get", "pods/log")}
    found = look()
    bad = {what: one for what, one in found.items() if not one.good}
    kinds = bad.pop("local: kinds of argoproj.io")
    assert kinds.found == "not served: argoproj.io/v1alpha1 AnalysisTemplate, argoproj.io/v1alpha1 Rollout"
    assert "argo-rollouts" in kinds.fix
    assert bad.pop(f"local: namespace {NAMESPACE}").fix == f"kubectl create namespace {NAMESPACE}"
    assert f"kubectl create secret generic {NAMES.name}-keys" in bad.pop(f"local: Secret {NAMES.name}-keys").fix
    assert bad.pop("local: may patch rollouts.argoproj.io/status").state == "missing"
    assert bad.pop("local: may get pods/log").found == "no"
    assert bad == {}


def test_a_store_of_secrets_is_of_the_namespace(api: KubeApi) -> None:
    found = look("production")["production: SecretStore sluice"]
    assert (found.state, found.fix) == ("missing", "engine/docs/reference/cluster.md#secrets")
    store = {"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "sluice"}}
    put(api, store)
    assert look("production")["production: SecretStore sluice"] == found, "that of another namespace"
    with api.inside(f"{NAMES.name}-production"):
        put(api, store)
    assert look("production")["production: SecretStore sluice"].good


def test_a_controller_that_writes_to_traefik_2_is_found(api: KubeApi) -> None:
    """As its own manifests install it: no canary gets traffic, and nothing says so (Argo Rollouts 1.9.1,
    utils/defaults/defaults.go:65-66, rollout/trafficrouting/traefik/traefik.go:71-82, rollout/canary.go:67-69)."""
    put(api, controller())
    found = look()["Argo Rollouts: flags"]
    assert found.state == "missing"
    assert "--traefik-api-group=traefik.io" in found.found
    assert found.fix.startswith(f"kubectl patch deployment -n {NAMESPACE} argo-rollouts --type json")
    put(api, controller(*ARGO_FLAGS))
    assert look()["Argo Rollouts: flags"].good


def test_a_traefik_that_joins_names_of_two_namespaces_is_found(api: KubeApi) -> None:
    put(api, traefik())
    found = look()["Traefik: names"]
    assert (found.state, "--providers.kubernetescrd.safenaming" in found.found) == ("missing", True)
    assert found.fix.startswith(f"kubectl patch deployment -n {NAMESPACE} traefik --type json")
    api.delete("Deployment", "traefik")
    assert look()["Traefik: names"].state == "not verified"


@pytest.mark.parametrize(
    ("version", "state", "found"),
    [
        (":v1.9.0@sha256:" + "1" * 64, "ok", "v1.9.0"),
        (":v1.8.3", "missing", "v1.8.3 is older than 1.9"),
        (":v1.10.0", "not verified", "v1.10.0 is newer than 1.9, the last one tested"),
        (":latest", "not verified", "no version in 'quay.io/argoproj/argo-rollouts:latest'"),
    ],
)
def test_a_version_that_was_never_tested_is_found(api: KubeApi, version: str, state: str, found: str) -> None:
    put(api, controller(*ARGO_FLAGS, version=version))
    one = look()["Argo Rollouts: version"]
    assert (one.state, one.found) == (state, found)
    assert state == "ok" or one.fix.endswith("engine/docs/reference/upgrading-a-cluster.md")


def test_a_kubernetes_that_is_too_old_is_found(api: KubeApi) -> None:
    api.kubernetes = "v1.32.9-eks-1234567"
    assert look()["Kubernetes: version"].found == "v1.32.9-eks-1234567 is older than 1.33"
    api.refuse[("GET", "/version")] = status(403, "Forbidden", "no right")
    assert look()["Kubernetes: version"].state == "not verified"


def test_a_version_of_a_kind_that_is_not_served_is_found(api: KubeApi, tmp_path: Path) -> None:  # noqa: ARG001
    scope = hosted(tmp_path)
    path = scope.root / "engine" / "k8s" / "base" / "middleware-retry.yaml"
    path.write_text(path.read_text().replace("traefik.io/v1alpha1", "traefik.io/v2"))
    (one,) = [one for one in cluster.check(scope) if one.what == "local: kinds of traefik.io"]
    assert one.found == "not served: traefik.io/v2 Middleware; served are kinds of traefik.io/v1alpha1"
    assert one.fix.endswith("engine/docs/reference/upgrading-a-cluster.md")


def test_secrets_that_may_not_be_seen_are_not_verified(api: KubeApi) -> None:
    api.refuse[("GET", "/secrets/")] = status(403, "Forbidden", "secrets is forbidden: no right to get it")
    found = look()[f"local: Secret {NAMES.name}-keys"]
    assert found.state == "not verified"
    assert "forbidden" in found.found.lower()


def test_each_overlay_needs_what_it_renders(api: KubeApi) -> None:
    api.namespace = f"{NAMES.name}-{NAMES.environments[1]}"
    api.missing_groups = {"external-secrets.io", "monitoring.coreos.com", "postgresql.cnpg.io"}
    found = look(NAMES.environments[1])
    for group in ("external-secrets.io", "monitoring.coreos.com", "postgresql.cnpg.io"):
        assert found[f"{NAMES.environments[1]}: kinds of {group}"].state == "missing"
    assert f"{NAMES.environments[1]}: Secret {NAMES.name}-tls" in found
    assert look("nowhere")["nowhere: overlay"].state == "missing"


def hosted(tmp_path: Path, *components: str) -> DiagnosisScope:
    root = tmp_path / "project"
    copy_starter(root, "config", "k8s")
    providers = root / "config" / "providers.yaml"
    content = yaml.safe_load(providers.read_text())
    remote = {"kind": "openai_compatible", "key_env": "MODEL_KEY", "base_url_env": "MODEL_URL"}
    content["chat"] = [{**content["chat"][0], "name": "primary", "model": "m", **remote}]
    providers.write_text(yaml.safe_dump(content))
    path = root / "k8s" / "overlays" / "local" / "kustomization.yaml"
    overlay = yaml.safe_load(path.read_text())
    overlay["components"] = [
        *overlay.get("components", ()),
        *(f"../../../engine/k8s/components/{one}" for one in components),
    ]
    path.write_text(yaml.safe_dump(overlay))
    return DiagnosisScope(root, NAMES, {}, ("local",), "")


def secret(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def test_keys_of_hosted_models_are_in_the_pods(api: KubeApi, tmp_path: Path) -> None:
    put(api, secret("sluice-provider-keys", MODEL_KEY="aGlkZGVu", MODEL_URL="aGlkZGVu"))
    put(api, secret("sluice-registry"))
    found = {one.what: one for one in cluster.check(hosted(tmp_path, "provider-keys", "private-images"))}
    assert {what: one.found for what, one in found.items() if one.state != "ok"} == {}
    for what in ("variable MODEL_KEY", "variable MODEL_URL", "Secret sluice-provider-keys", "Secret sluice-registry"):
        assert f"local: {what}" in found
    assert "aGlkZGVu" not in str(found)
    assert "hidden" not in str(found)


def test_a_key_that_no_pod_has_is_missing(api: KubeApi, tmp_path: Path) -> None:
    without = {one.what: one for one in cluster.check(hosted(tmp_path))}
    for name in ("MODEL_KEY", "MODEL_URL"):
        one = without[f"local: variable {name}"]
        assert (one.state, one.found) == ("missing", "no pod of the service has it")
        assert "components/provider-keys" in one.fix
    shutil.rmtree(tmp_path / "project")
    scope = hosted(tmp_path, "provider-keys", "private-images")
    absent = {one.what: one for one in cluster.check(scope)}
    assert absent["local: Secret sluice-provider-keys"].state == "missing"
    assert absent["local: Secret sluice-registry"].state == "missing"
    assert absent["local: variable MODEL_KEY"].state == "not verified"
    put(api, secret("sluice-provider-keys", MODEL_URL="aGlkZGVu"))
    partly = {one.what: one for one in cluster.check(scope)}
    assert partly["local: variable MODEL_URL"].state == "ok"
    one = partly["local: variable MODEL_KEY"]
    assert (one.state, one.found) == ("missing", "not in sluice-provider-keys")
    assert "--from-env-file" in one.fix


def test_a_cluster_that_is_away_is_not_verified(api: KubeApi) -> None:
    api.down = True
    assert [one.state for one in look().values()] == ["not verified"]
    api.down = False
    assert [one.state for one in look(context="of-nobody").values()] == ["not verified"]
