"""The first release of an environment is judged before a route leads visitors to it.

Argo Rollouts calls the first ReplicaSet stable before one pod is ready, and runs no analysis for it (1.9.1,
rollout/sync.go:941-942, rollout/analysis.go:76-83). So `sluice deploy` keeps the routes of visitors back, runs the
analyses of the canary's steps itself, and applies the routes when they have passed. Both sides of each comparison are
the one release: errors stop it, and slow answers against a limit, but no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sluice.cluster.kubectl import Cluster, check
from sluice.cluster.manifests import Manifest, place
from sluice.cluster.rollback import UNJUDGED, is_unjudged
from sluice.cluster.rollout_observer import RolloutObserver
from sluice.cluster.rollout_outcome import RolloutOutcome, reasons
from sluice.cluster.rollout_status import ENDED, RolloutSnapshot
from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until

_GONE_SECONDS = 60.0


def first_release(
    live: Mapping[str, Any] | None, rollout: dict[str, Any], documents: Sequence[Manifest]
) -> FirstRelease | None:
    """Return the judge of a deployment to an environment where no release was promoted before."""
    if live is not None and not is_unjudged(live):
        return None
    rollout["metadata"].setdefault("annotations", {})[UNJUDGED] = "true"
    return FirstRelease(rollout, documents)


@dataclass(frozen=True)
class FirstRelease:
    rollout: Mapping[str, Any]
    documents: Sequence[Manifest]

    @property
    def routes(self) -> list[Manifest]:
        """Return the routes of visitors. The analyses come by the base's own (engine/k8s/base/ingressroute.yaml) and,
        with components/ingress-alb, by an Ingress."""
        kinds = ("IngressRoute", "HTTPRoute")
        return [one for one in self.documents if one["kind"] in kinds and one["metadata"]["name"] != "sluice"]

    def judge(self, cluster: Cluster, observer: RolloutObserver, seconds: float) -> RolloutOutcome:
        """Run the analyses one after the other, and let visitors in when all have passed."""
        for route in self.routes:
            observer.show(f"{place(route)} waits: no visitor before the release is judged")
        for document in _runs(cluster, self.rollout, self.documents, observer):
            name = document["metadata"]["name"]
            _make_room(observer, name)
            cluster.apply([document])
            observer.ends_by = partial(_end, name)
            if (ended := observer.until_end(seconds)).kind != "promoted":
                return ended
        cluster.apply(self.routes)
        return RolloutOutcome("promoted")


def analyses_of(strategy: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the templates of a strategy's analyses, with the arguments of the first that has them."""
    analyses = [step["analysis"] for step in strategy.get("canary", {}).get("steps", ()) if "analysis" in step]
    analyses += [strategy.get("blueGreen", {}).get("prePromotionAnalysis", {})]
    given: dict[str, dict[str, str]] = {}
    for analysis in analyses:
        values = {arg["name"]: arg["value"] for arg in analysis.get("args", ()) if "value" in arg}
        for one in analysis.get("templates", ()):
            if not one.get("clusterScope"):  # of the platform's own, which may know nothing of a first release
                given.setdefault(one["templateName"], values)
    return given


def _runs(
    cluster: Cluster, rollout: Mapping[str, Any], documents: Sequence[Manifest], observer: RolloutObserver
) -> Iterator[Manifest]:
    """Yield an AnalysisRun for each template of the steps, without those that compare two releases in Prometheus."""
    current = observer.picture.rollout.current if observer.picture.rollout else ""
    name, namespace = observer.target.name, observer.target.namespace
    templates = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "AnalysisTemplate"}
    # Not the Rollout's: of those it ends the ones that it has not begun itself (1.9.1, rollout/analysis.go:36-50, 80).
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
    (made,) = cluster.live([{**owner, "metadata": {"name": f"{name}-{current}", "namespace": namespace}}])
    owner |= {key: made["metadata"][key] for key in ("name", "uid")}
    for template, values in analyses_of(rollout["spec"]["strategy"]).items():
        if template not in templates:
            raise SluiceError(f"AnalysisTemplate/{template}: it was not rendered", remedy="add it to the overlay")
        spec = templates[template]
        if not any("job" in metric["provider"] for metric in spec["metrics"]):
            continue  # about two releases and their visitors, too
        args = {arg["name"]: values.get(arg["name"], arg.get("value")) for arg in spec.get("args", ())}
        yield {
            "apiVersion": rollout["apiVersion"],
            "kind": "AnalysisRun",
            "metadata": {"name": f"{name}-{current}-{template}", "namespace": namespace, "ownerReferences": [owner]},
            "spec": {
                "args": [{"name": arg, "value": value} for arg, value in args.items() if value is not None],
                "metrics": spec["metrics"],
            },
        }


def _end(name: str, picture: RolloutSnapshot) -> RolloutOutcome | None:
    run = picture.runs.get(name)
    if run is None or run.phase not in ENDED:
        return None
    return RolloutOutcome("promoted") if run.phase == "Successful" else RolloutOutcome("failed", *reasons(picture))


def _make_room(observer: RolloutObserver, name: str) -> None:
    """Delete the ended analysis of an earlier attempt, whose name a new one gets."""
    run = observer.look().runs.get(name)
    if run is not None and run.phase in ENDED:
        check(observer.client.delete(f"{observer.target.custom}/analysisruns/{name}"))
        if not wait_until(
            lambda: name not in observer.look().runs, seconds=_GONE_SECONDS, every=observer.patience.poll
        ):
            raise SluiceError(f"analysis {name}: is not gone after it was deleted", remedy="look at its finalizers")
