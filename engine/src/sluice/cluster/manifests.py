"""Renders the manifests of k8s/ with kubectl and validates them; unknown keys are errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.release.manifest import PINNED

# The releases of Kubernetes that the manifests are for. Built-in kinds are checked against the oldest.
VERSIONS = ("1.33", "1.34", "1.35", "1.36")
KUBERNETES = VERSIONS[0]
Manifest = Mapping[str, Any]
_RENDER_SECONDS = 60
_OWN_KIND = "`kubectl get crd NAME -o yaml | sluice manifests schema -` writes the schema of a kind of your own"
# libyaml where PyYAML has it, ten times as fast: an overlay is thousands of lines, and kubectl wrote them.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What an overlay holds before `images:` names a real build. Nothing has this digest, so no pod starts from it.
PLACEHOLDER = "sha256:" + "0" * 64
# What Argo Rollouts 1.9 needs to write to Traefik 3: its defaults name the group of Traefik 2, and then no step of any
# canary is taken (utils/defaults/defaults.go:65-66, rollout/trafficrouting/traefik/traefik.go:71-92 at v1.9.1).
ARGO_FLAGS = ("--traefik-api-group=traefik.io", "--traefik-api-version=traefik.io/v1alpha1")


def kubectl() -> str:
    """Return the path of kubectl: this environment's, else the system's."""
    own = Path(sys.executable).with_name("kubectl")
    if found := str(own) if own.is_file() else shutil.which("kubectl"):
        return found
    raise SluiceError("kubectl is not installed", remedy="`make setup` installs it")


def render(folder: Path) -> str:
    try:
        done = subprocess.run(
            [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=_RENDER_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SluiceError(f"{folder}: kubectl took longer than {_RENDER_SECONDS} s", remedy="run it again") from None
    if done.returncode:
        raise SluiceError(f"{folder}: {done.stderr.strip()}", remedy="fix the kustomization; nothing was applied")
    return done.stdout


def parse(text: str) -> list[Manifest]:
    return [document for document in yaml.load_all(text, Loader=_LOADER) if document]


def schema_folders(root: Path) -> tuple[Path, Path]:
    """Return where schemas of custom resources are: the project's own come first."""
    return root / "k8s" / "schemas", root / "engine" / "schemas" / "cluster"


def validate(documents: Sequence[Manifest], *schemas: Path, kubernetes: str = KUBERNETES) -> None:
    faults = [f"{place(one)}: {fault}" for one in documents for fault in _faults(one, schemas, kubernetes)]
    places = Counter((place(one), group_of(one), str(one["metadata"].get("namespace", ""))) for one in documents)
    faults += [f"{name}: is there twice" for (name, _, _), times in places.items() if times > 1]
    ways = {place(one): led_to for one in documents if (led_to := _led_to(one))}
    if len({*ways.values()}) > 1:
        faults.append(f"{' and '.join(sorted(ways))}: differ in their services; list ingress-tls before shadow and ab")
    if not documents:
        faults.append("nothing was rendered")
    if faults:
        raise ValidationErrors("manifests", faults, remedy="fix the manifests in k8s/; nothing was applied")


def _led_to(document: Manifest) -> frozenset[str]:
    """Return the services of a weighted IngressRoute. kustomize is silent if a patch finds no such route."""
    routes = (document.get("spec") or {}).get("routes") or () if document.get("kind") == "IngressRoute" else ()
    found = [(one.get("kind"), one.get("name")) for route in routes for one in route.get("services") or ()]
    return frozenset(str(name) for _, name in found) if "TraefikService" in dict(found) else frozenset()


def group_of(document: Manifest) -> str:
    return str(document.get("apiVersion", "")).rpartition("/")[0]


def place(document: Manifest) -> str:
    """Return `Kind/name`."""
    return f"{document.get('kind')}/{(document.get('metadata') or {}).get('name')}"


def unpinned(documents: Sequence[Manifest], *, placeholders: bool = True) -> list[str]:
    """List `Kind/name: image` of each image that isn't named by digest."""
    return [
        f"{place(one)}: {image}"
        for one in documents
        for image in _images(one)
        if not PINNED.fullmatch(image) or (not placeholders and image.endswith(PLACEHOLDER))
    ]


def _images(document: Manifest) -> Iterator[str]:
    for pod in pods(document):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield str(container.get("image", "no image"))
    if group_of(document) == "postgresql.cnpg.io" and "imageName" in document["spec"]:
        yield str(document["spec"]["imageName"])


def pods(document: Manifest) -> list[Mapping[str, Any]]:
    """Return the pod specs of a workload, or of the Jobs of an AnalysisTemplate."""
    return [one["spec"]["template"]["spec"] for one in as_builtin(document)]


def as_builtin(document: Manifest) -> list[Manifest]:
    """Return what runs pods as built-in kinds; scanners and schema checkers skip a Rollout without a word."""
    kind, metadata = document.get("kind"), document.get("metadata", {})
    if group_of(document) not in ("argoproj.io", "apps", "batch"):  # others have a Job, too
        return []
    if kind == "Rollout":
        spec = {key: document["spec"][key] for key in ("replicas", "selector", "template") if key in document["spec"]}
        return [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}]
    if kind in ("AnalysisTemplate", "ClusterAnalysisTemplate"):
        return [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {**metadata, "name": f"{metadata['name']}-{metric['name']}"},
                "spec": metric["provider"]["job"]["spec"],
            }
            for metric in document["spec"]["metrics"]
            if "job" in metric["provider"]
        ]
    if kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return [document]
    if kind == "CronJob":
        return [{**document, "apiVersion": "batch/v1", "kind": "Job", "spec": document["spec"]["jobTemplate"]["spec"]}]
    return []


def schema_name(group: str, kind: str, version: str = "") -> str:
    """Return the name of a file, without any folder in it."""
    return Path("_".join(filter(None, (group, kind.lower(), version))) + ".json").name


def _custom_validator(document: Manifest, schemas: Sequence[Path]) -> Any:
    """Return the validator of the first schema found; that of one version comes before that of several."""
    group, kind, version = group_of(document), str(document.get("kind")), str(document.get("apiVersion")).split("/")[-1]
    paths = [folder / schema_name(group, kind, name) for folder in schemas for name in (version, "")]
    return next((_read_validator(path) for path in paths if path.is_file()), None)


@cache
def _read_validator(path: Path) -> Any:
    from jsonschema import Draft7Validator

    try:
        return Draft7Validator(json.loads(path.read_bytes()))
    except ValueError as error:
        raise SluiceError(f"{path}: {error}", remedy="write it again with `sluice manifests schema`") from error


def _faults(document: Manifest, schemas: Sequence[Path], kubernetes: str) -> Iterator[str]:
    version, kind = str(document.get("apiVersion")), str(document.get("kind"))
    validator = _custom_validator(document, schemas) or _builtin_validator(version, kind, kubernetes)
    if validator is None:
        yield f"neither Kubernetes {kubernetes} nor a schema has kind {kind!r} in {version!r}; {_OWN_KIND}"
        return
    yield from (faults := [*_described(validator, document)])
    # In a custom resource a pod has no rules beyond names and types: in the built-in kind it has.
    for built in () if faults else as_builtin(document):
        if built is not document:
            yield from _described(_builtin_validator(built["apiVersion"], built["kind"], kubernetes), built)


@cache
def _builtin_validator(version: str, kind: str, kubernetes: str) -> Any:
    """Return a strict validator of a built-in kind, or None. kubernetes_validate's own `validate` rereads megabytes
    for each document and stops at the first fault."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    group, slash, number = version.rpartition("/")
    if "." in group and not group.endswith(".k8s.io"):
        return None  # the names of files don't tell batch.volcano.sh from batch
    folder = f"kubernetes-json-schema/v{kubernetes}.0-local-strict"
    try:
        schema = _contents(f"{folder}/{kind.lower()}-{group.partition('.')[0]}{'-' if slash else ''}{number}.json")
    except FileNotFoundError:
        return None
    registry: Any = Registry()
    for contents in (_contents(f"{folder}/_definitions.json"), schema):
        registry = Resource.from_contents(contents) @ registry
    return Draft202012Validator(schema, registry=registry)


@cache
def _contents(path: str) -> Any:
    from kubernetes_validate import utils

    return utils.schema_contents(path, KUBERNETES)


def _described(validator: Any, document: Manifest) -> Iterator[str]:
    for error in validator.iter_errors(document):
        yield f"{'.'.join(map(str, error.absolute_path)) or 'top'}: {error.message[:300]}"
