"""Deletes ConfigMaps and finished Jobs of releases that no rollback needs any more.

`sluice rollback` goes to any ReplicaSet that is there, and Argo Rollouts keeps as many as `revisionHistoryLimit` says.
Objects that a ReplicaSet names are therefore kept, and the controller alone decides how long a release can be restored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sluice.cluster.apply import ended, jobs_of
from sluice.cluster.kubectl import Show, check
from sluice.cluster.rollout_observer import RolloutTarget
from sluice.cluster.rollout_status import RELEASE_LABEL
from sluice.core.errors import SluiceError

# As kustomize names them: by a hash of their content.
_MANIFEST = re.compile(r"sluice-release-[a-z0-9]{10}")
# What is younger may belong to a deployment that is just beginning and has no ReplicaSet yet.
_YOUNG = timedelta(days=1)
Object = Mapping[str, Any]


def prune(client: httpx.Client, target: RolloutTarget, show: Show) -> None:
    """Takes away what is left of releases that are gone. A cluster that does not let us is told once and no more: it
    changes nothing about the release."""
    try:
        gone = _prune(client, target)
    except (SluiceError, httpx.HTTPError) as error:
        show(f"nothing more was tidied up: {str(error).splitlines()[0]}")
        return
    if gone:
        show(f"tidied up {', '.join(gone)}")


def _prune(client: httpx.Client, target: RolloutTarget) -> list[str]:
    namespace = target.namespace
    sets = _items(client, f"/apis/apps/v1/namespaces/{namespace}/replicasets")
    alive = [
        *sets,
        *(one for one in _items(client, f"{target.custom}/rollouts") if one["metadata"]["name"] == target.name),
    ]
    # The templates of the last deployment, also where a rollback came after it.
    judges = _items(client, f"{target.custom}/analysistemplates")
    jobs = _items(client, jobs_of(namespace))
    done = [job for job in jobs if _is_over(job, _releases(alive))]
    named = json.dumps([*alive, *judges, *(job for job in jobs if job not in done)])
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    loose = [
        one
        for one in _items(client, maps)
        if _MANIFEST.fullmatch(one["metadata"]["name"]) and _old(one) and f'"{one["metadata"]["name"]}"' not in named
    ]
    for path, objects in ((jobs_of(namespace), done), (maps, loose)):
        for one in objects:
            _delete(client, f"{path}/{one['metadata']['name']}")
    return [str(one["metadata"]["name"]) for one in (*done, *loose)]


def _items(client: httpx.Client, path: str) -> list[Any]:
    response = client.get(path)
    check(response)
    return list(response.json()["items"])


def _delete(client: httpx.Client, path: str) -> None:
    """Also what it owns, in the background. One that is gone already is fine."""
    response = client.delete(path, params={"propagationPolicy": "Background"})
    if response.status_code != 404:
        check(response)


def _releases(objects: Sequence[Object]) -> set[str]:
    """Those that the pod templates belong to."""
    templates = (one["spec"]["template"].get("metadata") or {} for one in objects)
    return {str((metadata.get("labels") or {}).get(RELEASE_LABEL, "")) for metadata in templates}


def _is_over(job: Object, kept: set[str]) -> bool:
    """A Job of a deployment, ended, of a release that is gone. Those of an analysis belong to their AnalysisRun."""
    release = (job["metadata"].get("labels") or {}).get(RELEASE_LABEL)
    owned = bool(job["metadata"].get("ownerReferences"))
    return bool(release) and release not in kept and not owned and bool(ended(job)) and _old(job)


def _old(one: Object) -> bool:
    """False also for an object that does not say when it was made."""
    made = one["metadata"].get("creationTimestamp")
    return bool(made) and datetime.now(UTC) - datetime.fromisoformat(made) > _YOUNG
