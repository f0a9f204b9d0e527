"""Keeps vLLM's adapters those of the live releases. A pass compares both sides and fixes the difference, so it may be
interrupted and repeated after any restart or outage."""

from __future__ import annotations

import logging
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx

from sluice.cluster.rollout_status import RELEASE_LABEL
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.extras.vllm_adapters.peft_form import FOLDER, require_base
from sluice.extras.vllm_adapters.vllm_server import VllmDownError, VllmServer
from sluice.release.artifact_store import ArtifactStore
from sluice.release.catalogue import fetch_folders
from sluice.release.manifest import FILE, load

LivingReleases = Callable[[], dict[str, bytes]]  # release.json by id; SluiceError when it cannot be told
_log = logging.getLogger(__name__)
# Where Kubernetes mounts the token of a pod's account, and the namespace of the pod.
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_VOLUME = "manifest"  # of rollout.yaml: the ConfigMap with release.json


def in_folder(folder: Path) -> LivingReleases:
    """Return every release of a folder, such as `.sluice/releases`."""

    def living() -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in sorted(folder.glob(f"r-*/{FILE}"))}

    return living


class ReplicaSetReleases:
    """The releases of ReplicaSets with pods: stable, canary, pods of an experiment, and rollback targets."""

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
        """Return nothing if it is gone: pods without their manifest don't start, and others don't wait for them."""
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
    """Return the releases of this pod's namespace."""
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


_RELEASE = re.compile(r"r-[0-9a-f]{12}")
_RETRY_SECONDS = 30  # a file that is damaged is not fetched every two seconds


class AdapterStatus(NamedTuple):
    """`none` means that the release has no adapter for vLLM; `reason` is why it is refused, with its remedy."""

    state: Literal["registered", "none", "waiting", "refused"]
    reason: str = ""


class AdapterLoader:
    """One vLLM and the adapters in `folder`, which vLLM reads under the same path. For `keep_seconds` the adapter of an
    ended release stays: its last pods still answer, and a rollback finds it."""

    def __init__(
        self,
        living: LivingReleases,
        vllm: VllmServer,
        store: ArtifactStore,
        folder: Path,
        *,
        keep_seconds: float = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._living, self._vllm, self._store, self._folder = living, vllm, store, folder
        self._keep, self._clock = keep_seconds, clock
        # What was alive before this process, for as long as nobody can tell what is.
        self._until = dict.fromkeys(in_folder(folder)(), clock() + keep_seconds)
        self._known = bool(self._until)  # whether it was ever told what is alive
        self._up = False
        self._owed: set[str] | None = None  # what vLLM must have, or be refused, before it is asked
        self._retry: dict[str, float] = {}
        self.states: dict[str, AdapterStatus] = {}
        self._faults: tuple[str, ...] = ()  # of this pass
        self._said: tuple[str, ...] = ()  # of the one before: a fault that lasts is one line of the log

    @property
    def fault(self) -> str:
        """Describe what the last pass could not do, besides single adapters."""
        return self._faults[-1] if self._faults else ""

    @property
    def ready(self) -> bool:
        """Tell if vLLM again answers for all releases that it had before its last start. A new release doesn't count:
        one refused adapter must not take the others down."""
        return self._up and not self._owed

    def run_once(self) -> None:
        """Make one pass; faults are kept in `states` and `fault`, and retried in the next."""
        self._said, self._faults = self._faults, ()
        alive = self._look()
        if not self._known:
            return
        try:
            there = self._vllm.adapters()
            self._register_all(there)
            self._up = True
            if alive is not None:  # an API server that is away says of no release that it is not alive
                self._drop_all({*there, *self._until} - alive)
        except VllmDownError as error:
            self._note(error.message)
            self._up = False
            lost = self._registered()
            self._owed = None if self._owed is None else self._owed | lost
            self.states |= dict.fromkeys(lost, AdapterStatus("waiting", error.message))
        except SluiceError as error:
            self._note(str(error))

    def _look(self) -> set[str] | None:
        try:
            found = {name: content for name, content in self._living().items() if _RELEASE.fullmatch(name)}
        except SluiceError as error:
            self._note(str(error))
            return None
        self._known = True
        for name, content in found.items():
            self._until[name] = self._clock() + self._keep
            if not (path := self._folder / name / FILE).is_file() or path.read_bytes() != content:
                write_atomic(path, content)
        return set(found)

    def _register_all(self, there: dict[str, str]) -> None:
        paths = {name: self._folder / name / FOLDER for name in self._until}
        lost = {name for name in self._registered() if there.get(name) != str(paths[name])}
        self._owed = set(self._until) if self._owed is None else self._owed | lost
        # Whatever lies here needs no store, which may be away: it comes first.
        for name, path in sorted(paths.items(), key=lambda one: (not one[1].is_dir(), one[0])):
            if there.get(name) == str(path):
                self.states[name] = AdapterStatus("registered")
            elif self._retry.get(name, 0) <= self._clock():
                self._register(name, replace=name in there)
            self._owed.discard(name)

    def _drop_all(self, names: set[str]) -> None:
        """Remove expired adapters from vLLM, then from disk: vLLM (0.32) reloads an evicted adapter, and ends, for all
        releases, if its folder is gone."""
        now = self._clock()
        for name in names:
            if _RELEASE.fullmatch(name) and self._until.get(name, now) <= now:
                self._vllm.unregister(name)
                shutil.rmtree(self._folder / name, ignore_errors=True)
                self._until.pop(name, None)
                self.states.pop(name, None)
                _log.info("%s: no longer needed", name)

    def _register(self, name: str, *, replace: bool) -> None:
        folder = self._folder / name
        try:
            # Every byte is compared with release.json, before each time that vLLM is told of it.
            if (manifest := load(folder)).id != name:
                raise SluiceError(f"{folder / FILE}: this is {manifest.id}", remedy="deploy the release again")
            if not any(file.startswith(f"{FOLDER}/") for file in manifest.files):
                self.states[name] = AdapterStatus("none")
                return
            fetch_folders(str(folder / FILE), self._store, folder, [FOLDER])
            require_base(folder / FOLDER, self._vllm.base())
            if replace:
                self._vllm.unregister(name)
            self._vllm.register(name, folder / FOLDER)
        except VllmDownError:
            raise
        except SluiceError as error:
            if self.states.get(name) != (refused := AdapterStatus("refused", str(error))):
                _log.error("%s: %s", name, error)
            self.states[name], self._retry[name] = refused, self._clock() + _RETRY_SECONDS
        else:
            self.states[name] = AdapterStatus("registered")
            _log.info("%s: registered", name)

    def _registered(self) -> set[str]:
        return {name for name, status in self.states.items() if status.state in ("registered", "waiting")}

    def _note(self, fault: str) -> None:
        if fault not in self._said:
            _log.warning("%s", fault)
        self._faults += (fault,)
