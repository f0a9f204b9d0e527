"""The nodes of a cluster that has none: a thread that gives pods their status through the API, as kwok does.

For a control plane without scheduler and kubelets, and for the stub API server. No image is pulled; a Job's pod ends as
the test says, and the controller of Jobs sees it.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from sluice.cluster.kubectl import Cluster, patch, read
from sluice.core.errors import SluiceError

JOB_LABEL, RELEASE = "batch.kubernetes.io/job-name", "app.kubernetes.io/version"
BAD = ("Failed", "Error", "Inconclusive")
_ENDED = ("Succeeded", "Failed")  # for good, whatever a later release is judged to be
_SECONDS = 0.2
Object = dict[str, Any]


@dataclass
class Nodes:
    """What becomes of pods and Jobs: verdicts and logs by metric or Job, and releases and pods that are not ready."""

    verdicts: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    waiting: dict[str, Object] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)

    def pod_status(self, pod: Object) -> Object:
        spec = pod["spec"]["containers"][0]
        absent = spec.get("image", "").partition("@")[0].endswith("absent")
        release = pod["metadata"].get("labels", {}).get(RELEASE, "")
        dead = release in self.dead or release in self.waiting or pod["metadata"]["name"] in self.lacking
        state: Object = {"waiting": self.waiting[release]} if release in self.waiting else {"running": {}}
        if absent:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{spec["image"]}"'}}
        ready = not absent and not dead
        container = {"name": spec["name"], "image": spec.get("image", ""), "imageID": "", "ready": ready}
        return {
            "phase": "Pending" if absent else "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{**container, "restartCount": 0, "state": state}],
        }

    def job_ends(self, job: Object) -> str:
        failed = any(
            f".{metric}." in f".{job['metadata']['name']}." and verdict in BAD
            for metric, verdict in self.verdicts.items()
        )
        return "Failed" if failed else "Complete"


@contextmanager
def marked_pods(cluster: Cluster, namespaces: Sequence[str], nodes: Nodes) -> Iterator[Nodes]:
    over = threading.Event()
    with cluster.client() as client:
        thread = threading.Thread(target=_mark, args=(client, namespaces, nodes, over), daemon=True)
        thread.start()
        try:
            yield nodes
        finally:
            over.set()
            thread.join(timeout=60)


def _mark(client: httpx.Client, namespaces: Sequence[str], nodes: Nodes, over: threading.Event) -> None:
    while not over.wait(_SECONDS):
        for namespace in namespaces:
            # A pod may go between the look and the patch, and the API server for a moment: the next look sees.
            with contextlib.suppress(SluiceError, httpx.HTTPError):
                pods = f"/api/v1/namespaces/{namespace}/pods"
                for pod in read(client, pods)["items"]:
                    there, wanted = pod.get("status") or {}, _status(pod, nodes)
                    if there.get("phase") not in _ENDED and not _covers(there, wanted):
                        patch(client, f"{pods}/{pod['metadata']['name']}/status", {"status": wanted})


def _status(pod: Any, nodes: Nodes) -> Any:
    status = nodes.pod_status(pod)
    if job := (pod["metadata"].get("labels") or {}).get(JOB_LABEL):
        failed = nodes.job_ends({"metadata": {"name": job}}) == "Failed"
        (container,) = status["containerStatuses"]
        ended = {"terminated": {"exitCode": int(failed)}}
        status |= {"phase": "Failed" if failed else "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}
        status["containerStatuses"] = [{**container, "ready": False, "state": ended}]
    return status


def _covers(there: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_covers(there.get(key), one) for key, one in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(_covers, there, wanted))
    return bool(there == wanted)
