"""A stub of a Kubernetes API server: real HTTP on the loopback address, for kubectl and for our own calls.

It keeps objects with one resourceVersion for all, answers discovery, server-side apply (field_ownership.py), merge
patches and lists. Controllers take a turn whenever somebody looks at what they write (player.py), so that every state
can be seen, on a busy machine too. The first look after a write to a Rollout sees what was there before, as a cluster's
controllers take their time. A patch that changes nothing is no event (Kubernetes 1.34,
staging/src/k8s.io/apiserver/pkg/storage/etcd3/store.go, GuaranteedUpdate).
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import reduce
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.kubernetes.field_ownership import FieldConflictError, applied, copied, updated
from support.local_server import QuietHandler, in_thread

KINDS = (
    ("", "v1", "Namespace", "namespaces", False),
    ("", "v1", "Service", "services", True),
    ("", "v1", "ConfigMap", "configmaps", True),
    ("", "v1", "Secret", "secrets", True),
    ("", "v1", "ServiceAccount", "serviceaccounts", True),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True),
    ("", "v1", "Pod", "pods", True),
    ("", "v1", "Event", "events", True),
    ("", "v1", "ResourceQuota", "resourcequotas", True),
    ("external-secrets.io", "v1", "SecretStore", "secretstores", True),
    ("apps", "v1", "Deployment", "deployments", True),
    ("apps", "v1", "StatefulSet", "statefulsets", True),
    ("apps", "v1", "ReplicaSet", "replicasets", True),
    ("batch", "v1", "Job", "jobs", True),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", True),
    ("argoproj.io", "v1alpha1", "Rollout", "rollouts", True),
    ("argoproj.io", "v1alpha1", "AnalysisTemplate", "analysistemplates", True),
    ("argoproj.io", "v1alpha1", "AnalysisRun", "analysisruns", True),
    ("traefik.io", "v1alpha1", "TraefikService", "traefikservices", True),
    ("traefik.io", "v1alpha1", "IngressRoute", "ingressroutes", True),
    ("traefik.io", "v1alpha1", "Middleware", "middlewares", True),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", True),
    ("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes", True),
    ("networking.istio.io", "v1", "VirtualService", "virtualservices", True),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", True),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors", True),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", True),
    ("external-secrets.io", "v1", "ExternalSecret", "externalsecrets", True),
    ("postgresql.cnpg.io", "v1", "Cluster", "clusters", True),
)
PLURALS = {kind: plural for _, _, kind, plural, _ in KINDS}
Object = dict[str, Any]


class KubeApi:
    """`objects` by path; `refuse`: the Status for a method and part of a path; `logs` by pod."""

    def __init__(self, namespace: str = "sluice-local") -> None:
        self.namespace = namespace
        self.objects: dict[str, Object] = {}
        self.version = 100
        self.down = False
        self.requests: list[tuple[str, str]] = []
        self.refuse: dict[tuple[str, str], Object] = {}
        self.logs: dict[str, str] = {}
        self.missing_groups: set[str] = set()
        self.kubernetes = "v1.34.1"  # as GET /version says it
        self.denied: set[tuple[str, str]] = set()  # (verb, resource or resource/subresource) that nobody may
        self.lock = threading.RLock()
        self.patched = False  # a Rollout, since somebody looked: no controller has come to it yet
        self.now = datetime(2026, 1, 1, tzinfo=UTC)  # of the controllers
        self.controllers: Callable[[], bool] | None = None  # one turn of them
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"api": self}))
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients go away

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def path(self, kind: str, name: str = "") -> str:
        group, version, _, plural, namespaced = next(one for one in KINDS if one[2] == kind)
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        place = f"/namespaces/{self.namespace}" if namespaced else ""
        return f"{root}{place}/{plural}" + (f"/{name}" if name else "")

    @property
    def namespaces(self) -> list[str]:
        root = "/api/v1/namespaces/"
        made = [path.removeprefix(root) for path in self.objects if path.startswith(root)]
        return list(dict.fromkeys([self.namespace, *(one for one in made if "/" not in one)]))

    def kubeconfig(self, path: Path) -> Path:
        config: Object = {"apiVersion": "v1", "kind": "Config", "current-context": "stub"}
        config["clusters"] = [{"name": "stub", "cluster": {"server": self.url}}]
        config["contexts"] = [{"name": "stub", "context": {"cluster": "stub", "user": "nobody"}}]
        config["users"] = [{"name": "nobody", "user": {}}]
        path.write_text(json.dumps(config))
        return path

    def find(self, kind: str, name: str) -> Object | None:
        return copied(self.objects.get(self.path(kind, name)))

    def all(self, kind: str) -> list[Object]:
        root = self.path(kind, "")
        return [copied(one) for path, one in self.objects.items() if path.rpartition("/")[0] == root]

    def write(self, document: Object, manager: str) -> Object:
        """Create or update an object as a controller, which owns what has changed."""
        path = self.path(document["kind"], document["metadata"]["name"])
        with self.lock:
            live = self.objects.get(path)
            return self._store(path, live, updated(live, copied(document), manager))

    def apply(
        self, config: Object, manager: str = "sluice", *, force: bool = False, keep: bool = True, path: str = ""
    ) -> Object:
        """Apply server-side; without `keep` a dry run."""
        path = path or self.path(config["kind"], config["metadata"]["name"])
        with self.lock:
            live = self.objects.get(path)
            document = applied(live, config, manager, force=force)
            return self._store(path, live, document) if keep else document

    def merge(self, path: str, body: Object, manager: str) -> Object:
        """Apply a merge patch (RFC 7386) to an object, or to its status alone."""
        with self.lock:
            main = path.removesuffix("/status")
            live = self.objects[main]
            document = _merged(copied(live), body)
            kept = ("status",) if path != main else tuple(key for key in document if key != "status")
            document = {**copied(live), **{key: document[key] for key in kept if key in document}}
            if document == live:
                return live  # no new version, and no event to anybody who watches
            return self._store(main, live, updated(live, document, manager))

    @contextmanager
    def inside(self, namespace: str) -> Iterator[None]:
        with self.lock:
            before, self.namespace = self.namespace, namespace
            try:
                yield
            finally:
                self.namespace = before

    def delete(self, kind: str, name: str) -> None:
        with self.lock:
            gone = self.objects.pop(self.path(kind, name))
            uid = gone["metadata"].get("uid")
            self.version += 1
            for one in list(self.objects.values()):
                if uid and uid in [owner.get("uid") for owner in one["metadata"].get("ownerReferences") or ()]:
                    with contextlib.suppress(KeyError):
                        self.delete(one["kind"], one["metadata"]["name"])

    def _store(self, path: str, live: Object | None, document: Object) -> Object:
        metadata = document["metadata"]
        if "/namespaces/" in path:
            metadata.setdefault("namespace", path.split("/namespaces/")[1].partition("/")[0])
        metadata.setdefault("uid", f"uid-{metadata['name']}")
        metadata.setdefault("creationTimestamp", self.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        if document["apiVersion"] != "v1":  # those of the core have none
            known = (live or {}).get("metadata", {}).get("generation", 0)
            changed = live is None or live.get("spec") != document.get("spec")
            metadata["generation"] = known + 1 if changed else known
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.objects[path] = document
        return copied(document)


def _merged(live: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def status(code: int, reason: str, message: str, details: Object | None = None) -> Object:
    document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
    return {**document, "reason": reason, "message": message, "details": details or {}}


class _Handler(QuietHandler):
    api: KubeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are two packets: no 40 ms between them

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self._turned_away("GET", parts.path):
            return
        if self.api.controllers is not None and re.search(r"/(rollouts|jobs/|analysisruns/)", parts.path):
            if not self.api.patched:  # else it is the first look after a write: a controller comes a moment later
                self.api.controllers()
            self.api.patched = False
        if (found := self._discovery(parts.path)) is not None:
            self._send(200, found)
        elif parts.path.endswith("/log"):
            pod = parts.path.split("/")[-2]
            if pod in self.api.logs:
                self.reply(200, self.api.logs[pod].encode(), "text/plain")
            else:
                self._send(404, status(404, "NotFound", f'pods "{pod}" not found'))
        elif parts.path.rsplit("/", 1)[-1] in PLURALS.values():
            with self.api.lock:
                items = [one for path, one in self.api.objects.items() if _selected(parts.path, path, one, query)]
                version = str(self.api.version)
            self._send(
                200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}
            )
        elif (path := parts.path.removesuffix("/status")) in self.api.objects:
            self._send(200, self.api.objects[path])
        else:
            self._send(404, status(404, "NotFound", f'"{parts.path.rsplit("/", 1)[-1]}" not found'))

    def do_PATCH(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))  # what kubectl sends as YAML is JSON
        if self._turned_away("PATCH" if "dryRun" not in query else "DRY", parts.path):
            return
        self.api.patched = "/rollouts/" in parts.path and "dryRun" not in query
        self._send(*self._patched(parts.path, body, query))

    def _patched(self, path: str, body: Object, query: dict[str, str]) -> tuple[int, Object]:
        name = body.get("metadata", {}).get("name", "")
        if self.headers["Content-Type"] == "application/merge-patch+json":
            manager = query.get("fieldManager", self.headers.get("User-Agent", "").partition("/")[0])
            if path.removesuffix("/status") not in self.api.objects:
                return 404, status(404, "NotFound", f'"{path.rsplit("/", 1)[-1]}" not found')
            return 200, self.api.merge(path, body, manager)
        keep, force = query.get("dryRun") != "All", query.get("force") == "true"
        try:
            return 200, self.api.apply(body, query["fieldManager"], force=force, keep=keep, path=path)
        except FieldConflictError as error:
            causes = [
                {"reason": "FieldManagerConflict", "message": manager, "field": field}
                for manager, field in error.fields
            ]
            return 409, status(409, "Conflict", error.message, {"name": name, "causes": causes})

    def do_DELETE(self) -> None:
        path = urlsplit(self.path).path
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self._body()
        if self._turned_away("DELETE", path):
            return
        if path not in self.api.objects:
            self._send(404, status(404, "NotFound", f'"{path.rsplit("/", 1)[-1]}" not found'))
            return
        with self.api.inside(self.api.objects[path]["metadata"].get("namespace", self.api.namespace)):
            self.api.delete(self.api.objects[path]["kind"], path.rsplit("/", 1)[-1])
        self._send(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})

    def do_POST(self) -> None:
        body = json.loads(self._body())
        if self._turned_away("POST", self.path):
            return
        asked = body["spec"]["resourceAttributes"]
        resource = asked["resource"] + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        allowed = (asked["verb"], resource) not in self.api.denied
        self._send(201, {**body, "status": {"allowed": allowed}})

    def _body(self) -> bytes:
        """kubectl sends what it reads from a pipe in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _turned_away(self, method: str, path: str) -> bool:
        self.api.requests.append((method, self.path))
        if self.api.down:
            self.close_connection = True
            self.connection.close()
            return True
        for (verb, part), answer in self.api.refuse.items():
            if verb == method and part in path:
                self._send(answer["code"], answer)
                return True
        return False

    def _discovery(self, path: str) -> Object | None:
        kinds = [one for one in KINDS if one[0] not in self.api.missing_groups]
        groups = sorted({(group, version) for group, version, *_ in kinds if group})
        if path == "/version":
            return {"major": "1", "minor": "34", "gitVersion": self.api.kubernetes}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            versions = [
                (group, {"groupVersion": f"{group}/{version}", "version": version}) for group, version in groups
            ]
            listed = [{"name": group, "versions": [one], "preferredVersion": one} for group, one in versions]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        if path.startswith("/openapi/v3"):
            return _openapi(path.removeprefix("/openapi/v3").strip("/"), kinds)
        for group, version in [("", "v1"), *groups]:
            if path == (f"/apis/{group}/{version}" if group else "/api/v1"):
                resources = [
                    {"name": plural, "singularName": "", "kind": kind, "namespaced": namespaced}
                    | {"verbs": ["get", "list", "watch", "patch", "create", "delete"]}
                    for other, _, kind, plural, namespaced in kinds
                    if other == group
                ]
                return {
                    "kind": "APIResourceList",
                    "groupVersion": f"{group}/{version}".strip("/"),
                    "resources": resources,
                }
        return None

    def _send(self, code: int, document: Object) -> None:
        self.reply(code, json.dumps(document).encode())


def _openapi(place: str, kinds: list[tuple[str, str, str, str, bool]]) -> Object:
    """As much as kubectl reads: that a patch may be tried, and that its fields are checked by the server."""
    roots = {
        (f"apis/{group}/{version}" if group else f"api/{version}"): (group, version) for group, version, *_ in kinds
    }
    if not place:
        return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}?hash=1"} for root in roots}}
    known = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("fieldValidation", "dryRun")]
    paths = {
        f"/{place}/{plural}/{{name}}": {
            "patch": {
                "parameters": known,
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
            }
        }
        for group, version, kind, plural, _ in kinds
        if (group, version) == roots.get(place)
    }
    return {"openapi": "3.0.0", "info": {"title": "stub", "version": "1"}, "paths": paths}


def _selected(collection: str, path: str, document: Object, query: dict[str, str]) -> bool:
    if "/namespaces/" not in collection:  # of all namespaces
        path = re.sub("/namespaces/[^/]+", "", path)
    if path.rsplit("/", 1)[0] != collection:
        return False
    labels = document["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = term.partition("=")
        if labels.get(key) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        field, _, wanted = term.partition("=")
        if reduce(lambda inner, key: inner.get(key, {}), field.split("."), document) != wanted:
            return False
    return True


@contextmanager
def serving(api: KubeApi) -> Iterator[KubeApi]:
    with in_thread(api.server):
        yield api
