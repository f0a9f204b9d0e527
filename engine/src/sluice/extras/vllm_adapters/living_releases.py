"""The releases that are alive: those whose pods Kubernetes keeps, or those of a folder."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from sluice.cluster.rollout_status import RELEASE_LABEL
from sluice.core.errors import SluiceError
from sluice.release.manifest import FILE

LivingReleases = Callable[[], dict[str, bytes]]  # release.json by id; SluiceError when it cannot be told
_log = logging.getLogger(__name__)
# Where Kubernetes mounts the token of a pod's account, and the namespace of the pod.
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_VOLUME = "manifest"  # of rollout.yaml: the ConfigMap with release.json


def in_folder(folder: Path) -> LivingReleases:
    """Every release of a folder, such as `.sluice/releases`."""

    def living() -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in sorted(folder.glob(f"r-*/{FILE}"))}

    return living


class ReplicaSetReleases:
    """The releases of the ReplicaSets of a namespace that have pods or shall have some: stable, the canary, the pods of
    an experiment, and those that a rollback brings back."""

    def __init__(self, client: httpx.Client, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._manifests: dict[str, bytes] = {}  # by the name of the ConfigMap, which follows from its content

    def __call__(self) -> dict[str, bytes]:
        found: dict[str, str] = {}
        for one in self._get(f"/apis/apps/v1/namespaces/{self._namespace}/replicasets")["items"]:
            template = one["spec"]["template"]
            release = (template["metadata"].get("labels") or {}).get(RELEASE_LABEL)
            volumes = {each["name"]: each for each in template["spec"].get("volumes") or ()}
            name = volumes.get(_VOLUME, {}).get("configMap", {}).get("name")
            if release and name and (one["spec"].get("replicas", 1) or one.get("status", {}).get("replicas", 0)):
                found[release] = name
        self._manifests = {name: held for name, held in self._manifests.items() if name in found.values()}
        return {release: held for release, name in found.items() if (held := self._manifest(name))}

    def _manifest(self, name: str) -> bytes:
        """Nothing where it is gone: pods without their manifest do not start, and others do not wait for them."""
        if name not in self._manifests:
            try:
                held = self._get(f"/api/v1/namespaces/{self._namespace}/configmaps/{name}")["data"][FILE]
            except (SluiceError, KeyError) as error:
                _log.warning("ConfigMap %s: %s", name, error)
                return b""
            self._manifests[name] = held.encode()
        return self._manifests[name]

    def _get(self, path: str) -> Any:
        try:
            return self._client.get(path).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise SluiceError(
                f"API server: {path}: {error}",
                remedy="the account of this pod needs to list replicasets and get configmaps of its namespace",
            ) from error


def in_cluster(account: Path = _ACCOUNT) -> ReplicaSetReleases:
    """Those of the namespace that this pod runs in."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").is_file():
        raise SluiceError(f"{account}: no account of a pod", remedy="outside of a cluster name a folder: --releases")

    def signed(request: httpx.Request) -> httpx.Request:
        request.headers["authorization"] = f"Bearer {(account / 'token').read_text().strip()}"  # it is changed hourly
        return request

    client = httpx.Client(
        base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        verify=ssl.create_default_context(cafile=str(account / "ca.crt")),
        auth=signed,
        timeout=20,
        trust_env=False,
    )
    return ReplicaSetReleases(client, (account / "namespace").read_text().strip())
