"""The last lines of a Job's log, which explain its verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx

from sluice.cluster.kubectl import find, message, read
from sluice.core.errors import SluiceError
from sluice.rollout.load_test.verdict import VERDICTS

# As core/progress.py writes it where nobody sits at a terminal: "quality: 84/240 answers (44 s left)".
_PROGRESS = re.compile(r"\w+: \d+/\d+ ")


def job_label(job: str) -> str:
    """Selects the pods of a Job."""
    return f"batch.kubernetes.io/job-name={job}"


def job_log(client: httpx.Client, namespace: str, job: str, *, lines: int = 40) -> list[str]:
    """Of the Job's newest pod. Says in one line why there is none: it never takes the place of a verdict."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    try:
        found = read(client, pods, labelSelector=job_label(job))["items"]
        if not found:
            return [f"job {job}: its pods are gone, and their log with them{_why(client, namespace, job)}"]
        newest = max(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        query = {"tailLines": str(lines), **_container(newest)}
        response = client.get(f"{pods}/{newest['metadata']['name']}/log", params=query)
        if response.is_error:
            return [f"job {job}: no log ({message(response)})"]
        return _telling(response.text.splitlines()) or [f"job {job}: it wrote nothing"]
    except (SluiceError, httpx.HTTPError) as error:
        return [f"job {job}: no log ({str(error).splitlines()[0]})"]


def _telling(lines: list[str]) -> list[str]:
    """Without progress, and from the verdicts on where there are some."""
    told = [line for line in lines if not _PROGRESS.match(line)]
    return told[told.index(VERDICTS) :] if VERDICTS in told else told


def _why(client: httpx.Client, namespace: str, job: str) -> str:
    """What the Job itself says: at its deadline the controller of Jobs deletes the pods, and only this is left."""
    document = find(client, f"/apis/batch/v1/namespaces/{namespace}/jobs/{job}") or {}
    for one in (document.get("status") or {}).get("conditions") or ():
        if one["type"] == "Failed" and one["status"] == "True":
            return f": {one.get('reason', '')}, {one.get('message', '')}"
    return ""


def _container(pod: Mapping[str, Any]) -> dict[str, str]:
    """The container that failed: of several steps only that one has something to say. Without one, the pod's own."""
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if ((one.get("state") or {}).get("terminated") or {}).get("exitCode"):
            return {"container": str(one["name"])}
    return {}
