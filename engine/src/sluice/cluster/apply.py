"""Applies manifests to a cluster and runs their Jobs; the Rollout comes last, so a failure leaves the live release."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from sluice.cluster.kubectl import Cluster, ClusterUnreachableError, ConflictError, Show, delete, find, message, read
from sluice.cluster.manifests import Manifest, place
from sluice.cluster.release_overlay import rollout_of
from sluice.cluster.rollout_status import HASH_LABEL, read_pod
from sluice.core.errors import SluiceError
from sluice.rollout.load_stage import VERDICTS

# Where Argo Rollouts writes weights: the rules of an object (of Traefik's, one), and the list of backends in each.
ROUTES = {
    "TraefikService": ("weighted", "services"),
    "HTTPRoute": ("rules", "backendRefs"),
    "GRPCRoute": ("rules", "backendRefs"),
    "VirtualService": ("http", "route"),
}
_SIDES = re.compile(r'"(?:stable|canary|ping|pong)(?:Service|SubsetName)": "([^"]+)"')
_ATTEMPTS = 3
_JOB_SECONDS = 3600.0
_UNTOUCHED = "the Rollout was not touched: what was live stays live; deploying again runs the job again"
# As core/progress.py writes it where nobody sits at a terminal: "quality: 84/240 answers (44 s left)".
_PROGRESS = re.compile(r"\w+: \d+/\d+ ")


def _project(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("labels", {}).get("project", ""))


def apply(cluster: Cluster, documents: Sequence[Manifest], show: Show, *, later: Sequence[Manifest] = ()) -> None:
    """Apply everything but Jobs, the Rollout and `later`, after a dry run of all of it."""
    namespaces = [one for one in documents if one["kind"] == "Namespace"]
    there = {place(one): _project(one) for one in cluster.live(namespaces)} if namespaces else {}
    for one in namespaces:
        if (others := there.get(place(one))) and others != _project(one):
            remedy = "give the overlay a `namespace` that no other project has"
            raise SluiceError(f"{place(one)} is of the project {others}, this is {_project(one)}", remedy=remedy)
    if missing := [one for one in namespaces if place(one) not in there]:
        cluster.apply(missing)  # nothing can be tried in a namespace that is not there
        show(f"made {', '.join(map(place, missing))}")
    first = [one for one in documents if one["kind"] not in ("Job", "Rollout") and one not in later]
    rollout = rollout_of(documents)
    for attempt in range(1, _ATTEMPTS + 1):
        live = cluster.live([rollout, *(one for one in first if one["kind"] in ("Service", *ROUTES))])
        kept, taken = _split(first, live, rollout["spec"]["strategy"])
        try:
            cluster.apply(kept, dry_run=True)
            cluster.apply(taken, dry_run=True, force=True)
            if attempt == 1:
                cluster.apply([one for one in documents if one["kind"] == "Job" or one in later], dry_run=True)
                cluster.apply([one for one in documents if one["kind"] == "Rollout"], dry_run=True, force=True)
            cluster.apply(kept)
            cluster.apply(taken, force=True)
            break
        except ConflictError:
            # The controller moved a weight between our look and our write: look again.
            if attempt == _ATTEMPTS:
                raise
    show(f"applied {len(first)} manifests")


def is_route(document: Manifest, strategy: Manifest) -> bool:
    """Return true for an object into which the strategy's canary writes weights."""
    routing = json.dumps((strategy.get("canary") or {}).get("trafficRouting"))
    return document["kind"] in ROUTES and f'"{document["metadata"]["name"]}"' in routing


def _split(documents: Sequence[Manifest], live: Sequence[Manifest], strategy: Manifest) -> tuple[list[Any], list[Any]]:
    """Return documents that leave the controller's selectors and weights, and routes that differ in more than weights.

    A selector and a list of rules or backends are each one field to the API server. After an abort the controller moves
    the selector to and fro, so the one that was read would conflict (1.9.1, rollout/trafficrouting.go:212)."""
    there = {place(one): one for one in live}
    before: Manifest = next((one["spec"]["strategy"] for one in live if one["kind"] == "Rollout"), {})
    names = {*_SIDES.findall(json.dumps({**(strategy.get("canary") or {}), "steps": None}))}
    kept, taken = list[Any](), list[Any]()
    for one in documents:
        document: Any = copy.deepcopy(dict(one))
        other = there.get(place(one), document)
        if one["kind"] == "Service" and HASH_LABEL in (other["spec"].get("selector") or {}):
            document["spec"].pop("selector", None)
        if routed := is_route(one, strategy):
            weights = dict(_backends(other, names))
            for key, backend in _backends(document, names):
                backend |= {field: value for field, value in weights.get(key, {}).items() if field == "weight"}
        differs = (routed or is_route(one, before)) and _rules(document) != _rules(other)
        (taken if differs else kept).append(document)
    return kept, taken


def _rules(route: Manifest) -> Any:
    rules = route["spec"].get(ROUTES[route["kind"]][0]) or []
    return rules if isinstance(rules, list) else [rules]


def _backends(route: Manifest, names: set[str]) -> Iterator[tuple[Any, Any]]:
    """Yield what leads to stable or canary, by its name and by what tells its rule from others."""
    for rule in _rules(route):
        backends = rule.get(ROUTES[route["kind"]][1]) or ()
        for one in backends:
            to = one.get("destination") or {}
            if found := names & {one.get("name"), to.get("host", "").partition(".")[0], to.get("subset")}:
                yield (rule.get("name"), len(backends), frozenset(found)), one


def run_jobs(cluster: Cluster, client: httpx.Client, jobs: Sequence[Manifest], show: Show) -> None:
    """Run Jobs one after the other, except those that succeeded before. SluiceError with the log of one that fails."""
    for job in jobs:
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        path = f"{jobs_of(namespace)}/{name}"
        if "Failed" in ended(find(client, path) or {}):
            delete(client, path)  # a Job never begins again: it gives its name to a new one
            show(f"job {name}: failed before, once more")
        cluster.apply([job])
        show(f"job {name}: started")
        wait_for_job(client, job, show, cluster.lost_seconds)
        show(f"job {name}: done")


def jobs_of(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def ended(job: Mapping[str, Any]) -> dict[str, str]:
    """Return `Complete` or `Failed` with the controller's message; empty while the Job runs."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return {one["type"]: str(one.get("message") or "failed") for one in conditions if one["status"] == "True"}


def wait_for_job(client: httpx.Client, job: Manifest, show: Show, lost: float, remedy: str = _UNTOUCHED) -> None:
    """Wait until a Job is complete. SluiceError with its log if it fails."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    end, heard = time.monotonic() + _JOB_SECONDS, time.monotonic()
    told: set[str] = set()
    while time.monotonic() < end:
        try:
            state = ended(read(client, f"{jobs_of(namespace)}/{name}"))
            heard = time.monotonic()
            _tell_problems(client, namespace, name, show, told)
        except ClusterUnreachableError:
            if time.monotonic() - heard > lost:
                raise
            state = {}
        if "Complete" in state:
            return
        if "Failed" in state:
            log = "\n".join(f"  {line}" for line in job_log(client, namespace, name))
            raise SluiceError(f"job {name}: {state['Failed']}\n{log}", remedy=remedy)
        time.sleep(1)
    raise SluiceError(f"job {name}: not done after {_JOB_SECONDS:.0f} s", remedy=remedy)


def _tell_problems(client: httpx.Client, namespace: str, name: str, show: Show, told: set[str]) -> None:
    """Show once why pods of a Job don't start."""
    try:
        found = _pods_of(client, namespace, name)
    except ClusterUnreachableError:
        raise
    except SluiceError:
        return  # pods may not be seen: the Job itself decides
    for pod in map(read_pod, found):
        if pod.problem and pod.problem not in told:
            told.add(pod.problem)
            show(f"job {name}: pod {pod.name}: {pod.problem}")


def _pods_of(client: httpx.Client, namespace: str, job: str) -> list[Any]:
    path, label = f"/api/v1/namespaces/{namespace}/pods", f"batch.kubernetes.io/job-name={job}"
    return list(read(client, path, labelSelector=label)["items"])


def job_log(client: httpx.Client, namespace: str, job: str) -> list[str]:
    """Return the log of a Job's newest pod, from the verdicts on, or one line that says why there is none."""
    try:
        found = _pods_of(client, namespace, job)
        if not found:
            # At its deadline the controller deletes the pods: only the Job's own reason is left.
            conditions = ((find(client, f"{jobs_of(namespace)}/{job}") or {}).get("status") or {}).get("conditions")
            late = [one for one in conditions or () if one["type"] == "Failed" and one["status"] == "True"]
            why = "".join(f": {one.get('reason', '')}, {one.get('message', '')}" for one in late)
            return [f"job {job}: its pods are gone, and their log with them{why}"]
        newest = max(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        query = {"tailLines": "40", **_container(newest)}
        path = f"/api/v1/namespaces/{namespace}/pods/{newest['metadata']['name']}/log"
        response = client.get(path, params=query)
        if response.is_error:
            return [f"job {job}: no log ({message(response)})"]
        told = [line for line in response.text.splitlines() if not _PROGRESS.match(line)]
        return told[told.index(VERDICTS) if VERDICTS in told else 0 :] or [f"job {job}: it wrote nothing"]
    except (SluiceError, httpx.HTTPError) as error:
        return [f"job {job}: no log ({str(error).splitlines()[0]})"]


def _container(pod: Mapping[str, Any]) -> dict[str, str]:
    """Select the container that failed; without one, the API server takes the pod's own."""
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if ((one.get("state") or {}).get("terminated") or {}).get("exitCode"):
            return {"container": str(one["name"])}
    return {}
