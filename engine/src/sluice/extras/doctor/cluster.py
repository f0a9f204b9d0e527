"""Checks a cluster with kubectl, as `sluice deploy` uses it, for the objects of each rendered overlay.

Of Secrets only names are read, their own and those of keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sluice.cluster.manifests import ARGO_FLAGS, VERSIONS, kubectl, parse, render
from sluice.cluster.release_overlay import rollout_of
from sluice.core.errors import SluiceError
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed, run_program, unverified
from sluice.llm.model_files import Models
from sluice.llm.settings import RemoteSpec, load_providers

_SAFE_NAMING = "--providers.kubernetescrd.safenaming=true"
# Which project brings the kinds of a group, and how it is installed.
_RELEASES = "https://github.com/argoproj/argo-rollouts/releases/download"
_BRINGS = {
    "argoproj.io": "kubectl create namespace argo-rollouts; "
    f"kubectl apply -n argo-rollouts -f {_RELEASES}/v1.9.1/install.yaml",
    "traefik.io": "helm install traefik traefik/traefik -n traefik --create-namespace "
    f"--set additionalArguments={{{_SAFE_NAMING}}}",
    # Its name is the label that components/monitoring has: Prometheus looks at nothing else.
    "monitoring.coreos.com": "helm install prometheus prometheus-community/kube-prometheus-stack -n monitoring "
    "--create-namespace",
    "external-secrets.io": "helm install external-secrets external-secrets/external-secrets "
    "-n external-secrets --create-namespace",
    "policies.kyverno.io": "helm install kyverno kyverno/kyverno -n kyverno --create-namespace",
    "postgresql.cnpg.io": "helm install cnpg cnpg/cloudnative-pg -n cnpg-system --create-namespace",
    "barmancloud.cnpg.io": "kubectl apply -f https://github.com/cloudnative-pg/plugin-barman-cloud/releases/download/"
    "v0.14.0/manifest.yaml",
}
_UPGRADING = "engine/docs/reference/upgrading-a-cluster.md"
# engine/docs/reference/deployment.md, "Rights"; what an overlay renders is added to these.
_RIGHTS = {
    "rollouts.argoproj.io/status": ("patch",),
    "analysisruns.argoproj.io": ("list", "patch", "delete"),
    "pods": ("list",),
    "pods/log": ("get",),
    "events": ("list",),
    "replicasets.apps": ("list", "patch"),
    "services": ("patch",),
    "configmaps": ("create",),
}


def check(scope: DiagnosisScope) -> Iterator[Diagnosis]:
    try:
        program = [kubectl(), *([f"--context={scope.context}"] if scope.context else []), "--request-timeout=10s"]
    except SluiceError as error:
        yield Diagnosis("kubectl", "missing", error.message, error.remedy)
        return
    code, said = run_program([*program, "get", "--raw", "/apis"])
    if code:
        yield unverified("API server", said, "kubectl config get-contexts, then --context NAME")
        return
    yield passed("API server", scope.context or "the current context")
    groups = {one["name"]: [each["groupVersion"] for each in one["versions"]] for one in json.loads(said)["groups"]}

    def call(*words: str, text: str = "") -> tuple[int, str]:
        return run_program([*program, *words], text)

    yield _version(call, "Kubernetes", VERSIONS[0], VERSIONS[-1], "--raw", "/version")
    yield _version(call, "Argo Rollouts", "1.9", "1.9", *_image_of("argo-rollouts"))
    words = ("no canary gets traffic", "write to Traefik 3")
    yield _flags(call, "Argo Rollouts: flags", "argo-rollouts", ARGO_FLAGS, words, _BRINGS["argoproj.io"])
    behind_traefik = False
    for overlay in scope.overlays:
        folder = scope.root / "k8s" / "overlays" / overlay
        try:
            documents = parse(render(folder))
            namespace = rollout_of(documents)["metadata"]["namespace"]
        except SluiceError as error:
            yield Diagnosis(f"{overlay}: overlay", "missing", error.message, f"ls {folder.parent}")
            continue
        yield from _overlay(call, overlay, namespace, documents, groups)
        yield from _variables(call, scope, overlay, namespace, documents)
        behind_traefik |= any(one["apiVersion"].startswith("traefik.io/") for one in documents)
    if behind_traefik:
        yield _version(call, "Traefik", "3.7", "3.7", *_image_of("traefik"))
        # Traefik 3.7 joins namespace and name with a hyphen unless told otherwise, and logs a warning of it.
        words = ("objects of two namespaces can have one name in Traefik", "those of two namespaces differ")
        yield _flags(call, "Traefik: names", "traefik", [_SAFE_NAMING], words, _BRINGS["traefik.io"])


_REVIEWS = "authorization.k8s.io/v1"
_Call = Callable[..., tuple[int, str]]
_Groups = Mapping[str, Sequence[str]]


def _flags(call: _Call, what: str, name: str, flags: Sequence[str], words: tuple[str, str], install: str) -> Diagnosis:
    """Look for flags among the lower-case words of a Deployment's command lines; `words`: without them, and with."""
    listed = ("get", "deployments", "-A", "-l", f"app.kubernetes.io/name={name}", "-o", "json")
    code, said = call(*listed)
    if code:
        return unverified(what, said, f"kubectl {' '.join(listed)}")
    found = json.loads(said)["items"]
    if not found:
        return unverified(what, f"no Deployment has the label app.kubernetes.io/name={name}", install)
    containers, metadata = found[0]["spec"]["template"]["spec"]["containers"], found[0]["metadata"]
    given = {word.lower() for one in containers for word in (*one.get("command", ()), *one.get("args", ()))}
    absent = [flag for flag in flags if not given & {flag, flag.removesuffix("=true")}]
    if not absent:
        return passed(what, words[1])
    arguments = [*(containers[0].get("args") or ()), *absent]
    patch = json.dumps([{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": arguments}])
    place = f"-n {metadata['namespace']} {metadata['name']}"
    fix = f"kubectl patch deployment {place} --type json --patch '{patch}'"
    return Diagnosis(what, "missing", f"without {', '.join(absent)} {words[0]}", fix)


def _version(call: _Call, program: str, oldest: str, newest: str, *asked: str) -> Diagnosis:
    """Check the version in what kubectl prints: that of the server, or the tag of an image."""
    what, (code, said) = f"{program}: version", call("get", *asked)
    if code:
        return unverified(what, said, f"kubectl get {' '.join(asked)}")
    found = re.search(r'[:"](v?(\d+)\.(\d+)[^"@ ]*)', said)
    if not found:
        return unverified(what, f"no version in {said!r}", f"it is tested with {oldest} to {newest}: {_UPGRADING}")
    at, first, last = (tuple(map(int, one)) for one in (found.groups()[1:], oldest.split("."), newest.split(".")))
    if at < first:
        return Diagnosis(what, "missing", f"{found[1]} is older than {oldest}", f"upgrade it: {_UPGRADING}")
    if at > last:
        return unverified(what, f"{found[1]} is newer than {newest}, the last one tested", f"read {_UPGRADING}")
    return passed(what, found[1])


def _image_of(name: str) -> tuple[str, ...]:
    image = "jsonpath={.items[*].spec.template.spec.containers[0].image}"
    return ("deployments", "-A", "-l", f"app.kubernetes.io/name={name}", "-o", image)


def _overlay(call: _Call, overlay: str, namespace: str, documents: list[Any], served: _Groups) -> Iterator[Diagnosis]:
    yield from _kinds(call, overlay, documents, served)
    create = f"kubectl create namespace {namespace}"
    yield _there(call, f"{overlay}: namespace {namespace}", ("namespace", namespace), create)
    for secret, fix in sorted(_secrets(documents, namespace).items()):
        yield _there(call, f"{overlay}: Secret {secret}", ("secret", secret, "-n", namespace), fix)
    for store in {one["spec"]["secretStoreRef"]["name"] for one in documents if one["kind"] == "ExternalSecret"}:
        asked = ("secretstore", store, "-n", namespace)
        yield _there(call, f"{overlay}: SecretStore {store}", asked, "engine/docs/reference/cluster.md#secrets")
    groups = {one["apiVersion"].rpartition("/")[0] for one in documents if one["kind"] == "Rollout"}
    for resource, verbs in (_RIGHTS | {f"rollouts.{group}": ("patch",) for group in groups}).items():
        for verb in verbs:
            yield _right(call, overlay, verb, resource, namespace)


def _kinds(call: _Call, overlay: str, documents: list[Any], served: _Groups) -> Iterator[Diagnosis]:
    wanted: dict[str, set[tuple[str, str]]] = {}
    for one in documents:
        group = one["apiVersion"].rpartition("/")[0]
        if "." in group and not group.endswith(".k8s.io"):
            wanted.setdefault(group, set()).add((one["apiVersion"], one["kind"]))
    for group, kinds in sorted(wanted.items()):
        what, there = f"{overlay}: kinds of {group}", set[tuple[str, str]]()
        for version in served.get(group, ()):
            code, said = call("get", "--raw", f"/apis/{version}")
            if code:
                yield unverified(what, said, "run it again")
                break
            there |= {(version, one["kind"]) for one in json.loads(said)["resources"]}
        else:
            if absent := ", ".join(" ".join(one) for one in sorted(kinds - there)):
                fix, others = _BRINGS.get(group, f"install what defines {group}"), " and ".join(served.get(group, ()))
                found = f"not served: {absent}" + (f"; served are kinds of {others}" if others else "")
                yield Diagnosis(what, "missing", found, f"upgrade it: {_UPGRADING}" if others else fix)
            else:
                yield passed(what, ", ".join(sorted(kind for _, kind in kinds)))


def _secrets(documents: Iterable[Any], namespace: str) -> dict[str, str]:
    """Return the Secrets that pods and Jobs name, with the command that makes each."""
    page = "(engine/docs/reference/cluster.md#secrets)"
    external = {one["spec"]["target"]["name"] for one in documents if one["kind"] == "ExternalSecret"}
    return {
        name: f"kubectl describe externalsecret {name} -n {namespace}"
        if name in external
        else f"kubectl create secret generic {name} -n {namespace} …  {page}"
        for one in documents
        for name in _names_in(one)
    }


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "secretName" and isinstance(inner, str):
                yield inner
            elif key == "imagePullSecrets":
                yield from (one["name"] for one in inner)
            elif key in ("secretKeyRef", "secretRef") and isinstance(inner, dict) and not inner.get("optional"):
                yield inner["name"]
            else:
                yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)


def _variables(
    call: _Call, scope: DiagnosisScope, overlay: str, namespace: str, documents: list[Any]
) -> Iterator[Diagnosis]:
    """Check the variables by which config/providers.yaml asks models; kubectl prints only the names of keys."""
    chat = load_providers(scope.root / "config" / "providers.yaml", roles=Models.roles()).chat
    needed = {name for one in chat if isinstance(one, RemoteSpec) for name in (one.key_env, one.base_url_env) if name}
    (rollout,) = [one for one in documents if one["kind"] == "Rollout"]
    container = rollout["spec"]["template"]["spec"]["containers"][0]
    needed -= {one["name"] for one in container.get("env", ())}
    secrets = [one["secretRef"]["name"] for one in container.get("envFrom", ()) if "secretRef" in one]
    folder = f"k8s/overlays/{overlay}/kustomization.yaml"
    for name in sorted(needed):
        what, there = f"{overlay}: variable {name}", False
        fix = f"add ../../../engine/k8s/components/provider-keys to the components of {folder}"
        for secret in secrets:
            keys = "go-template={{range $name, $value := .data}}{{$name}} {{end}}"
            code, said = call("get", "secret", secret, "-n", namespace, "-o", keys)
            fix = f"kubectl create secret generic {secret} -n {namespace} --from-env-file keys.env, with {name}=…"
            if code:
                yield unverified(what, said, fix)
                break
            there = there or name in said.split()
        else:
            found = f"not in {', '.join(secrets)}" if secrets else "no pod of the service has it"
            yield passed(what, "in the pods") if there else Diagnosis(what, "missing", found, fix)


def _there(call: _Call, what: str, words: tuple[str, ...], fix: str) -> Diagnosis:
    code, said = call("get", *words, "-o", "name")
    if code == 0:
        return passed(what, "there")
    if "NotFound" in said:
        return Diagnosis(what, "missing", "not there", fix)
    return unverified(what, said, fix)


def _right(call: _Call, overlay: str, verb: str, resource: str, namespace: str) -> Diagnosis:
    what = f"{overlay}: may {verb} {resource}"
    whole, _, sub = resource.partition("/")
    name, _, group = whole.partition(".")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": name, "subresource": sub}
    review = {"apiVersion": _REVIEWS, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
    code, said = call(
        "create", "--raw", f"/apis/{_REVIEWS}/selfsubjectaccessreviews", "-f", "-", text=json.dumps(review)
    )
    grant = f"kubectl create role deployer --verb={verb} --resource={resource} -n {namespace}, and a binding of it"
    if code:
        return unverified(what, said, grant)
    return passed(what, "yes") if json.loads(said)["status"]["allowed"] else Diagnosis(what, "missing", "no", grant)
