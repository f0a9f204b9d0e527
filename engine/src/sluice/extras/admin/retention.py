"""Removes what is left of old releases in the shared artifact store and in a cluster.

A release that is added meanwhile is safe: what is younger than a day stays, and the catalogue is read again before each
removal. In a cluster `sluice rollback` goes to any ReplicaSet that is there, so what a ReplicaSet names is kept, and
`revisionHistoryLimit` decides how long a release can be restored.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from sluice.cluster.apply import ended, jobs_of
from sluice.cluster.kubectl import Show, check
from sluice.cluster.rollout_observer import RolloutTarget
from sluice.cluster.rollout_status import RELEASE_LABEL
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release.artifact_store import ArtifactStore
from sluice.release.catalogue import FOLDER, CatalogueEntry, artefacts, fetch_folders, newest
from sluice.release.environment_record import CLOSED_BY, REFUSED, AppendLog, EnvironmentRecord

# What is younger may belong to a release that is put there now, or to a deployment that has no ReplicaSet yet.
_GRACE = timedelta(days=1)
_RECORDS, _CATALOGUE = FOLDER.split("/")
# As kustomize names them: by a hash of their content.
_MANIFEST = re.compile(r"sluice-release-[a-z0-9]{10}")
_Object = Mapping[str, Any]


@dataclass(frozen=True)
class PrunedReleases:
    """Ids of the releases that stay and go, and the `names` of files that went with them."""

    kept: frozenset[str]
    releases: tuple[str, ...]
    names: tuple[str, ...]


def prune(store: ArtifactStore, workspace: Workspace, keep: int, *, dry_run: bool = False) -> PrunedReleases:
    if not store.notes(FOLDER):  # before the first release GitHub's registry knows no such place, and refuses
        return PrunedReleases(frozenset(), (), ())
    before = datetime.now(UTC) - _GRACE
    kept = _kept(store, keep, before)
    gone = {entry.id: entry for entry in newest(store) if entry.id not in kept}
    names = store.unneeded(_needed(store, workspace, kept.values()), before)
    if not dry_run:
        log, now = AppendLog(store, FOLDER, CatalogueEntry), datetime.now(UTC).isoformat(timespec="seconds")
        for entry in gone.values():  # to put a release there again is a new entry
            log.append(entry.model_copy(update={"removed": True, "time": now}))
        there, held = store.notes(FOLDER), set[str]()
        for name in names:
            if (noted := store.notes(FOLDER)) != there:
                there, held = noted, _needed(store, workspace, newest(store))
            if name not in held:
                store.remove(name)
    return PrunedReleases(frozenset(kept), tuple(gone), tuple(names))


def _kept(store: ArtifactStore, keep: int, before: datetime) -> dict[str, CatalogueEntry]:
    there: dict[str, CatalogueEntry] = {}
    for entry in newest(store):
        there.setdefault(entry.id, entry)
    chosen = {entry.id for entry in there.values() if datetime.fromisoformat(entry.time) >= before}
    for baseline in (False, True):
        found = (entry.id for entry in there.values() if entry.baseline == baseline)
        chosen |= {*itertools.islice(found, 1 if baseline else keep)}
    for environment in store.folders(_RECORDS):
        if environment not in (_CATALOGUE, REFUSED):
            record = EnvironmentRecord(store, environment)
            live = dict.fromkeys(event.id for event in record.newest() if event.event in CLOSED_BY.values())
            pending = record.pending()
            chosen |= {*itertools.islice(live, keep), *([pending.id] if pending else [])}
    return {name: entry for name, entry in there.items() if name in chosen}


def _needed(store: ArtifactStore, workspace: Workspace, entries: Iterable[CatalogueEntry]) -> set[str]:
    needed: set[str] = set()
    for entry in entries:
        with tempfile.TemporaryDirectory() as folder:
            fetch_folders(entry.digest, store, Path(folder), ["config"])
            needed |= {entry.id, entry.digest, *entry.making.values(), *artefacts(Path(folder), workspace)}
    return needed


def tidy_cluster(client: httpx.Client, target: RolloutTarget, show: Show) -> None:
    """Delete what is left of old releases; a refusal is told once and changes nothing about the deployment."""
    try:
        gone = _tidy(client, target)
    except (SluiceError, httpx.HTTPError) as error:
        show(f"nothing more was tidied up: {str(error).splitlines()[0]}")
        return
    if gone:
        show(f"tidied up {', '.join(gone)}")


def _tidy(client: httpx.Client, target: RolloutTarget) -> list[str]:
    namespace = target.namespace
    sets = _items(client, f"/apis/apps/v1/namespaces/{namespace}/replicasets")
    rollouts = _items(client, f"{target.custom}/rollouts")
    alive = [*sets, *(one for one in rollouts if one["metadata"]["name"] == target.name)]
    # The templates of the last deployment, also where a rollback came after it.
    judges = _items(client, f"{target.custom}/analysistemplates")
    jobs = _items(client, jobs_of(namespace))
    templates = (one["spec"]["template"].get("metadata") or {} for one in alive)
    releases = {str((metadata.get("labels") or {}).get(RELEASE_LABEL, "")) for metadata in templates}
    done = [job for job in jobs if _is_over(job, releases)]
    named = json.dumps([*alive, *judges, *(job for job in jobs if job not in done)])
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    manifests = [one for one in _items(client, maps) if _MANIFEST.fullmatch(one["metadata"]["name"])]
    loose = [one for one in manifests if _old(one) and f'"{one["metadata"]["name"]}"' not in named]
    for path, objects in ((jobs_of(namespace), done), (maps, loose)):
        for one in objects:
            gone = {"propagationPolicy": "Background"}  # also what it owns
            response = client.delete(f"{path}/{one['metadata']['name']}", params=gone)
            if response.status_code != 404:  # or it is gone already
                check(response)
    return [str(one["metadata"]["name"]) for one in (*done, *loose)]


def _items(client: httpx.Client, path: str) -> list[Any]:
    response = client.get(path)
    check(response)
    return list(response.json()["items"])


def _is_over(job: _Object, kept: set[str]) -> bool:
    """Match an ended Job of a deployment of an old release; a Job of an analysis belongs to its AnalysisRun."""
    release = (job["metadata"].get("labels") or {}).get(RELEASE_LABEL)
    owned = bool(job["metadata"].get("ownerReferences"))
    return bool(release) and release not in kept and not owned and bool(ended(job)) and _old(job)


def _old(one: _Object) -> bool:
    made = one["metadata"].get("creationTimestamp")
    return bool(made) and datetime.now(UTC) - datetime.fromisoformat(made) > _GRACE
