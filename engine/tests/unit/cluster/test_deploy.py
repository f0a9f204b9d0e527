import re
import shlex
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sluice.cluster import deploy_release, rollout_observer
from sluice.cluster.deploy_release import deploy, end_of_rollout
from sluice.cluster.kubectl import Cluster, ClusterUnreachableError, ConflictError
from sluice.cluster.manifests import kubectl
from sluice.cluster.release_overlay import render_release
from sluice.cluster.rollout_observer import WatchTimeouts
from sluice.core.errors import SluiceError
from support.kubernetes.api_server import status
from support.kubernetes.player import Player

from .conftest import (
    BEFORE,
    IMAGE,
    LOAD_IMAGE,
    QUICK,
    Runner,
    bring,
    checkout,
    crashing,
    documents_of,
    hold,
    patches,
    release,
    rollout,
    stopped,
    template_hash,
    without_a_template,
    write,
)


def test_weights_analyses_and_pods_are_shown_and_a_promotion_is_remembered(plane: Player, run: Runner) -> None:
    hold(plane)
    assert run().kind == "promoted"
    assert [one for one in run.weights if one] == [10, 50, 100]
    for line in (
        r"weight: canary 10 %, stable 90 %",
        r"pod sluice-\w+-\d+ \(canary\): Ready",
        r"analysis sluice-\w+-2-5: Successful",
        r"step 5 of 9: pause 30s",
        r"rollout: Healthy",
    ):
        assert [one for one in run.lines if re.fullmatch(line, one)], f"{line}: {run.text}"
    hashes = [template_hash(plane.api, name) for name in (release().id, BEFORE)]
    promoted = rollout(plane)["metadata"]["annotations"]["sluice/promoted"]
    assert promoted.split() == hashes, "and that before it, though nobody noted it"


def test_a_pause_without_a_duration_waits_for_a_person_and_says_the_command(plane: Player, run: Runner) -> None:
    """The command is the status patch of `kubectl argo rollouts promote` (1.9.1,
    pkg/kubectl-argo-rollouts/cmd/promote/promote.go: clearPauseConditionsPatch)."""
    hold(plane)
    plane.holds = True
    run.one("Rollout")["spec"]["strategy"]["canary"]["steps"][4] = {"pause": {}}

    def promote() -> None:
        by_plugin, by_kubectl = re.findall("`(kubectl .*?)`", run.lines[-1])
        assert by_plugin == "kubectl argo rollouts promote sluice -n sluice-local"
        assert not [one for one in run.lines if "step 6 of 9" in one], "it waits"
        subprocess.run([kubectl(), *shlex.split(by_kubectl)[1:]], check=True, capture_output=True)
        assert "pauseConditions" not in rollout(plane)["status"]
        plane.holds = False

    run.during = {"waits for a person": promote}
    assert run().kind == "promoted"
    first, _, second = run.text.partition("step 6 of 9")
    assert "step 5 of 9: pause until a person goes on" in first
    assert "step 8 of 9: pause 30s" in second
    assert "waits for a person" not in second, "a pause with a duration ends by itself"


def test_the_rollout_comes_last_and_after_a_dry_run(plane: Player, run: Runner) -> None:
    hold(plane)
    run()
    tried = [path.partition("?")[0] for method, path in plane.api.requests if method == "DRY"]
    assert set(tried) == set(patches(plane))
    applied = [path.partition("?")[0] for method, path in plane.api.requests if method == "PATCH" and "fieldM" in path]
    assert applied[-1].endswith("/rollouts/sluice")


def test_an_inconclusive_analysis_is_aborted(plane: Player, run: Runner) -> None:
    hold(plane)
    plane.nodes.verdicts = {"load": "Inconclusive"}
    done = run()
    assert done.kind == "stopped"
    assert "load: Inconclusive; value [1.4]" in done.reasons[0]
    assert rollout(plane)["status"]["abort"] is True


def test_a_degraded_rollout_is_aborted_with_what_its_pods_say(plane: Player, run: Runner) -> None:
    crashing(plane, run)
    done = run()
    assert done.kind == "stopped"
    assert "failed: aborting, stable gets all traffic" in run.lines
    assert "ProgressDeadlineExceeded" in done.reasons[0]
    assert "CrashLoopBackOff" in done.reasons[1]


def test_a_refused_rollout_fails_and_is_not_aborted(plane: Player, run: Runner) -> None:
    hold(plane)
    without_a_template(run)
    plane.api.delete("AnalysisTemplate", "load")
    done = run(patience=WatchTimeouts(settle=0.5, poll=0.01))
    assert done.kind == "failed"
    assert "AnalysisTemplate 'load' not found" in done.reasons[0]
    assert not patches(plane, "/status")


def test_a_rollout_that_is_refused_for_a_moment_goes_on(plane: Player, run: Runner) -> None:
    hold(plane)
    template = without_a_template(run)
    plane.api.delete("AnalysisTemplate", "load")
    looks: list[bool] = []

    def turn() -> bool:
        if (found := rollout(plane)["status"]) and "InvalidSpec" in [one["type"] for one in found["conditions"]]:
            looks.append(True)
        if len(looks) == 5:
            plane.api.apply(template)
        return plane.turn()

    plane.api.controllers = turn
    assert run().kind == "promoted"
    assert len(looks) >= 5


def test_a_release_over_another_is_not_taken_for_it(plane: Player, run: Runner) -> None:
    hold(plane)
    (other,) = (one for one in documents_of("r-999999999999") if one["kind"] == "Rollout")
    run.during["weight: canary 10 %"] = lambda: write(plane, template=other["spec"]["template"])
    done = run()
    assert (done.kind, done.passed) == ("failed", False)
    assert done.reasons == ("r-999999999999 was deployed over it, before it had ended",)
    assert not patches(plane, "/status"), "the other's canary goes on"


BLUE_GREEN = {"blueGreen": {"activeService": "sluice-stable"}}


def test_a_blue_green_rollout_is_not_begun_again(plane: Player, run: Runner) -> None:
    hold(plane)
    write(plane, strategy=BLUE_GREEN)
    with pytest.raises(SluiceError, match="unjudged"):
        run(retry=True)
    assert not [path for method, path in plane.api.requests if method in ("PATCH", "DRY")]


def test_the_pods_of_an_aborted_blue_green_rollout_go_first(plane: Player, run: Runner) -> None:
    hold(plane)
    plane.nodes.verdicts = {"load": "Failed"}
    assert run().kind == "stopped"
    plane.nodes.verdicts = {}
    bring(plane, BEFORE)
    write(plane, strategy=BLUE_GREEN)
    assert run().kind == "promoted"
    assert run.text.index("waiting for the pods of the attempt before") < run.text.index("applied")


def test_an_abort_that_is_lost_is_asked_for_again(plane: Player, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller overwrites an abort that comes while it writes (1.9.1, rollout/controller.go:464-499)."""
    monkeypatch.setattr(rollout_observer, "_TOUCH_SECONDS", 0.1)
    crashing(plane, run)
    run.during["aborting"] = lambda: setattr(plane, "deaf", 2)
    assert run().kind == "stopped"
    asked = [path.rpartition("/")[2] for path in patches(plane)]
    _, *touched = asked[len(asked) - 1 - asked[::-1].index("status") :]  # what follows the abort
    assert len(touched) >= 2, "one for each time that it was overwritten, more where the controller is slow"
    assert set(touched) == {"sluice"}
    assert rollout(plane)["status"]["abortedAt"], "the controller has heeded it"


def leaving(plane: Player) -> list[str]:
    sets = [one["metadata"] for one in plane.api.all("ReplicaSet")]
    return [one["labels"]["app.kubernetes.io/version"] for one in sets if "scale-down-deadline" in one["annotations"]]


def test_pods_that_go_while_the_next_release_is_applied_leave_no_deadline_either(plane: Player, run: Runner) -> None:
    """Until the controller has seen the next template, it scales the aborted one down and keeps its deadline."""
    hold(plane)
    plane.nodes.verdicts = {"quality": "Failed"}
    bring(plane, "r-111111111111", stopped)
    plane.fixed = True

    def half_a_minute() -> None:
        assert leaving(plane) == ["r-111111111111"]
        plane.fixed = False
        plane.settle()

    run.during = {"applied": half_a_minute}
    plane.nodes.verdicts = {}
    assert run().kind == "promoted"
    assert "r-111111111111" not in leaving(plane)


def test_an_api_server_that_stays_away_is_given_up(plane: Player, run: Runner) -> None:
    hold(plane)
    run.during["weight: canary 10 %"] = lambda: setattr(plane.api, "down", True)
    with pytest.raises(ClusterUnreachableError, match="has not answered for 2 s") as caught:
        run(patience=WatchTimeouts(lost=2, poll=0.01))
    assert "run the same command again" in str(caught.value)


def test_the_namespace_of_another_project_is_left_alone(plane: Player, run: Runner) -> None:
    hold(plane)
    metadata = {"name": plane.api.namespace, "labels": {"project": "other"}}
    plane.api.write({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "somebody")
    with pytest.raises(SluiceError, match="is of the project other, this is sluice"):
        run()
    assert patches(plane) == []


def test_a_right_that_is_missing_is_named_before_anything_is_written(plane: Player, run: Runner) -> None:
    hold(plane)
    words = 'networkpolicies.networking.k8s.io "dns" is forbidden: User "ci" cannot patch resource "networkpolicies"'
    plane.api.refuse["DRY", "/networkpolicies/dns"] = status(403, "Forbidden", words)
    with pytest.raises(SluiceError, match='User "ci" cannot patch') as caught:
        run()
    assert "lists the rights" in str(caught.value)
    assert not [path for kind, path in plane.api.requests if kind == "PATCH"]


def warn(plane: Player, name: str, reason: str, count: int = 1) -> None:
    """Write an event as the controller does (1.9.1, utils/record/record.go, rollout/trafficrouting.go:313)."""
    of = {"kind": "Rollout", "name": "sluice", "namespace": plane.api.namespace}
    event = {"type": "Warning", "reason": reason, "message": f"{name} failed", "count": count, "involvedObject": of}
    plane.api.write({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, **event}, "argo-rollouts")


def test_what_the_controller_warns_of_is_shown_once_with_a_remedy(plane: Player, run: Runner) -> None:
    hold(plane)
    for name in ("old", "again"):
        warn(plane, name, "TrafficRoutingError")

    def meanwhile() -> None:
        for name, reason in (("new", "TrafficRoutingError"), ("told", "RolloutAborted"), ("run", "AnalysisRunFailed")):
            warn(plane, name, reason)
        warn(plane, "again", "WeightVerifyError", count=2)

    run.during["step 1 of 9"] = meanwhile
    run()
    shown = [line for line in run.lines if " failed" in line or "doctor" in line]
    remedy = "`sluice doctor cluster` checks its flags and what traffic goes by"
    assert sorted(shown) == ["TrafficRoutingError: new failed", "WeightVerifyError: again failed", remedy]


def test_a_rollout_that_never_ends_says_what_it_waits_for(
    plane: Player, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(plane)

    def pass_by() -> None:
        plane.fixed = True
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + 240, sleep=time.sleep)
        monkeypatch.setattr(rollout_observer, "time", later)

    run.during["step 1 of 9"] = pass_by
    with pytest.raises(SluiceError, match="not finished after 240 s; it is Progressing, step "):
        run()


def test_a_rollout_whose_watch_was_lost_is_watched_to_its_end(
    plane: Player, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(plane)
    plane.nodes.verdicts = {"load": "Failed"}
    with pytest.raises(SluiceError, match="not finished after"):
        run(seconds=0)
    applied = len(patches(plane))
    monkeypatch.setattr(deploy_release, "WatchTimeouts", lambda: QUICK)
    place = (run.cluster, "sluice-local", "sluice", release().id)
    assert end_of_rollout(*place, show=run.lines.append, seconds=240).startswith("stopped; ")
    assert len(patches(plane)) == applied  # it looks, and no more


def test_a_release_that_the_cluster_was_never_given_did_not_become_live(plane: Player, run: Runner) -> None:
    place = (run.cluster, "sluice-local", "sluice", release().id)
    assert end_of_rollout(*place, show=run.lines.append, seconds=240) == "the cluster has no Rollout"
    hold(plane)
    assert end_of_rollout(*place, show=run.lines.append, seconds=240) == f"the cluster has {BEFORE}"
    plane.api.down = True
    with pytest.raises(SluiceError, match="the API server"):
        end_of_rollout(*place, show=run.lines.append, seconds=240)


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "sluice-canary", "namespace": "sluice-local"},
    "spec": {"selector": {"app": "sluice"}, "ports": [{"port": 80, "name": "http"}]},
}


def test_an_autoscaler_that_is_turned_on_finds_the_pods_that_are_there(plane: Player, run: Runner) -> None:
    """Argo Rollouts makes 1 of a number that nobody owns (1.9.1, rollout/controller.go:445-447)."""
    run.one("Rollout")["spec"]["replicas"] = 3
    assert run().kind == "promoted"
    del run.one("Rollout")["spec"]["replicas"]
    assert run().passed
    assert rollout(plane)["spec"]["replicas"] == 3
    assert all(one["spec"]["replicas"] == 3 for one in plane.api.all("ReplicaSet"))
    with pytest.raises(ConflictError, match="rollouts-controller"):
        run.cluster.apply([SERVICE])


@pytest.mark.parametrize("strategy", [{}, {"strategy": {"canary": {"maxSurge": 1}}}], ids=["canary", "rolling"])
def test_an_environment_that_goes_over_to_other_services_takes_the_weights_with_it(
    plane: Player, run: Runner, strategy: dict[str, Any]
) -> None:
    hold(plane)
    assert run().kind == "promoted"
    run.one("Rollout")["spec"] |= strategy  # components/rolling names no route any more
    weighted = run.one("TraefikService")["spec"]["weighted"]
    weighted["services"] = [one for one in weighted["services"] if one["name"] == "sluice-stable"]
    assert run().passed
    services = live_spec(plane, run.one("TraefikService"))["weighted"]["services"]
    assert [one["name"] for one in services] == ["sluice-stable"]


ROUTING = {
    "traefik": {"weightedTraefikServiceName": "visitors"},
    "plugins": {"argoproj-labs/gatewayAPI": {"httpRoutes": [{"name": "chat"}], "grpcRoutes": [{"name": "calls"}]}},
    "istio": {
        "virtualServices": [{"name": "hosts"}, {"name": "subsets"}],
        "destinationRule": {"name": "pods", "stableSubsetName": "up", "canarySubsetName": "next"},
    },
}
ROUTES = """
{apiVersion: traefik.io/v1alpha1, kind: TraefikService, metadata: {name: visitors}, spec: {weighted: {services: [
  {name: sluice-stable, weight: 80}, {name: sluice-canary, weight: 20}]}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: chat}, spec: {rules: [
  {matches: [{path: {value: /new}}], backendRefs: [{name: sluice-canary, weight: 1}]},
  {filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}}],
    backendRefs: [{name: sluice-stable, weight: 80}, {name: sluice-canary, weight: 20}, {name: other, weight: 9}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: calls}, spec: {hostnames: [a.example],
  rules: [{backendRefs: [{name: sluice-stable, weight: 80}, {name: sluice-canary, weight: 20}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: hosts}, spec: {http: [
  {name: old, route: [{destination: {host: sluice-stable}, weight: 3}, {destination: {host: other}, weight: 97}]},
  {name: new, rewrite: {authority: a.example}, route: [
    {destination: {host: sluice-stable.web.svc}, weight: 80}, {destination: {host: sluice-canary}, weight: 20}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: subsets}, spec: {http: [{route: [
  {destination: {host: pods, subset: up}, weight: 80}, {destination: {host: pods, subset: next}, weight: 20}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: unrelated}, spec: {
  rules: [{backendRefs: [{name: sluice-stable, weight: 80}, {name: sluice-canary, weight: 20}]}]}}
"""


def routes(stable: int, host: str = "a.example") -> list[Any]:
    text = ROUTES.replace("80", f"{stable}").replace("20", f"{100 - stable}").replace("a.example", host)
    return list(yaml.safe_load_all(text.replace("metadata: {", "metadata: {namespace: sluice-local, ")))


def live_spec(plane: Player, document: Any) -> Any:
    return (plane.api.find(document["kind"], document["metadata"]["name"]) or {})["spec"]


def test_weights_of_the_controller_stay_and_the_rest_of_a_route_is_applied(
    plane: Player, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, shares = run.cluster.live, [70, 60]

    def move(documents: list[Any]) -> list[Any]:
        """Return what is live, and move visitors before anything is written."""
        found = look(documents)
        for one in routes(shares.pop(0))[:-1] if len(documents) > 1 and shares else ():
            plane.api.write(one, "rollouts-controller")
        return found

    hold(plane)
    for one in routes(90):
        plane.api.apply(one)
    monkeypatch.setattr(run.cluster, "live", move)
    run.one("Rollout")["spec"]["strategy"]["canary"]["trafficRouting"] |= ROUTING
    run.documents += routes(80, "b.example")
    assert run().kind == "promoted"
    assert not shares
    for one in [*routes(60, "b.example")[:-1], routes(80)[-1]]:
        assert live_spec(plane, one) == one["spec"]


def test_production_from_its_first_release_to_one_that_is_stopped(plane: Player, tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "checkout")
    overlay = workspace.root / "k8s" / "overlays" / "production" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("0" * 64, "b" * 64))
    lines: list[str] = []
    plane.api.namespace = "sluice-production"

    def run(digit: str) -> str:
        lines.clear()
        documents = render_release(workspace, "production", release(prompts={"answer": digit * 64}), IMAGE, LOAD_IMAGE)
        cluster = Cluster(tmp_path / "state", lost_seconds=3)
        done = deploy(cluster, documents, show=lines.append, seconds=240, patience=QUICK)
        if done.passed:
            assert [one for one in documents if plane.api.find(one["kind"], one["metadata"]["name"]) is None] == []
        return f"{done.kind} {' '.join(done.reasons)}"

    assert run("1") == "promoted "
    assert "IngressRoute/sluice-tls waits: no visitor before the release is judged" in lines
    plane.nodes.verdicts = {"load": "Failed"}
    assert "load: Failed" in run("2")
    assert "weight: canary 10 %, stable 90 %" in lines


def test_visitors_that_a_stopped_canary_keeps_are_named_with_the_command(plane: Player, run: Runner) -> None:
    """While stable lacks a pod, the controller writes no weight (1.9.1, rollout/trafficrouting.go:273)."""
    hold(plane)
    plane.nodes.verdicts = {"load": "Failed"}
    plane.short = True
    run.during = {"giving them back": lambda: setattr(plane, "turn", lambda: False)}
    plane.api.controllers = lambda: plane.turn()
    done = run(patience=WatchTimeouts(lost=120, pull=120, settle=1, poll=0.01))
    assert done.kind == "stopped"
    share = f"10 % of the visitors may still reach {release().id} (the controller hasn't moved them)"
    assert f"{share}: run `sluice rollback` until it says what is live" in done.reasons
