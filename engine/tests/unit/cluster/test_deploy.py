"""Deployments against a stub API server over HTTP that plays recordings, made by us: no cluster was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.deploy_release import DeploymentResult, deploy, end_of_rollout
from sluice.cluster.kubectl import Cluster, ClusterUnreachableError, ConflictError
from sluice.cluster.release_overlay import render_release
from sluice.cluster.rollout_observer import WatchTimeouts
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from support.kubernetes.api_server import KubeApi, serving, status

from .cluster import IMAGE, checkout, hold, recording, release

QUICK = WatchTimeouts(lost=120, pull=120, settle=60, poll=0.05)


@pytest.fixture
def api(loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:  # noqa: ARG001
    with serving(KubeApi()) as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubecache"))
        yield stub


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def documents(workspace: Workspace) -> list[Any]:
    return render_release(workspace, "local", release(), IMAGE)


class Runner:
    def __init__(self, state: Path, documents: list[Any]) -> None:
        self.cluster = Cluster(state, lost_seconds=3)
        self.documents = documents
        self.lines: list[str] = []

    def __call__(self, *, patience: WatchTimeouts = QUICK, seconds: float = 240, **options: bool) -> DeploymentResult:
        self.lines.clear()
        return deploy(
            self.cluster, self.documents, show=self.lines.append, seconds=seconds, patience=patience, **options
        )

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def run(tmp_path: Path, documents: list[Any]) -> Runner:
    return Runner(tmp_path / "state", documents)


def test_a_first_deploy(api: KubeApi, run: Runner) -> None:
    api.recording = recording("first")
    done = run()
    assert (done.kind, done.passed) == ("promoted", True)
    assert "first deploy" in run.lines[0]
    assert "made Namespace/sluice-local" in run.text
    maps = [name for name in api.objects if "/configmaps/sluice-release-" in name]
    assert [api.objects[name]["data"]["release.json"] for name in maps] == [release().to_bytes().decode()]
    rollout = api.objects[api.path("Rollout", "sluice")]
    assert rollout["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == release().id
    assert rollout["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    volumes = rollout["spec"]["template"]["spec"]["volumes"]
    assert maps[0].rpartition("/")[2] in [(one.get("configMap") or {}).get("name") for one in volumes]


def test_weights_analyses_and_pods_are_shown(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    assert run().kind == "promoted"
    for line in (
        "weight: canary 10 %, stable 90 %",
        "weight: canary 50 %, stable 50 %",
        "pod sluice-new-1 (canary): Ready",
        "analysis sluice-new-2-5: Successful",
        "step 5 of 9: pause 30s",
        "rollout: Healthy",
    ):
        assert line in run.lines, run.text


def test_the_rollout_comes_last_and_after_a_dry_run(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    run()
    tried = [path.partition("?")[0] for method, path in api.requests if method == "DRY"]
    kept = [path.partition("?")[0] for method, path in api.requests if method == "PATCH"]
    assert set(tried) == set(kept)
    assert kept[-1].endswith("/rollouts/sluice")


def test_what_the_controller_has_written_is_kept(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    run()
    selector = api.objects[api.path("Service", "sluice-canary")]["spec"]["selector"]
    assert selector["rollouts-pod-template-hash"] == "old"
    assert api.applied_selectors == [], "the selector is the controller's: to apply it again may be a conflict"


def test_a_stop_names_metric_value_limit_and_log(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("stopped")
    api.logs["load-1-abc"] = "p95 of ttft is 1900 ms, the limit is 1200 ms\nverdict: failed\n"
    done = run()
    assert (done.kind, done.passed) == ("stopped", False)
    metric = next(one for one in done.reasons if "ttft-p95" in one)
    assert "value [2.75]" in metric
    assert "result[0] <= 1.5" in metric
    assert "  p95 of ttft is 1900 ms, the limit is 1200 ms" in done.logs
    assert run.lines[-1] == "weight: canary 0 %, stable 100 %"
    assert "[2.75]" in done.markdown("local")


def test_the_log_that_is_gone_hides_no_verdict(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("stopped")
    done = run()
    assert done.kind == "stopped"
    assert any("no log" in line for line in done.logs)


def test_the_same_release_again_changes_nothing(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    run()
    generation = api.objects[api.path("Rollout", "sluice")]["metadata"]["generation"]
    done = run()
    assert (done.kind, done.passed) == ("unchanged", True)
    assert api.objects[api.path("Rollout", "sluice")]["metadata"]["generation"] == generation
    assert "Rollout sluice: unchanged" in run.lines


def test_a_stopped_release_stays_stopped_until_retry(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("stopped")
    assert run().kind == "stopped"
    assert run().kind == "stopped"
    assert "--retry begins it again" in run.text
    assert run(retry=True).kind == "promoted"


def test_an_inconclusive_analysis_is_aborted(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("inconclusive")
    done = run()
    assert done.kind == "stopped"
    assert "feedback-score: Inconclusive; value [-0.3]" in done.reasons[0]
    assert api.objects[api.path("Rollout", "sluice")]["status"]["abort"] is True


def test_a_degraded_rollout_is_aborted_with_what_its_pods_say(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("degraded")
    done = run()
    assert done.kind == "stopped"
    assert "ProgressDeadlineExceeded" in done.reasons[0]
    assert "CrashLoopBackOff" in done.reasons[1]


def test_a_first_release_that_fails_has_nothing_to_go_back_to(api: KubeApi, run: Runner) -> None:
    late = {"phase": "Degraded", "message": "ProgressDeadlineExceeded", "currentPodHash": "new", "stableRS": "new"}
    api.recording = {"events": [{"rollout": late}]}
    done = run()
    assert (done.kind, done.reasons, done.first) == ("failed", ("ProgressDeadlineExceeded",), True)
    assert not [path for method, path in api.requests if path.endswith("/status")]


def test_an_image_that_cannot_be_pulled_is_aborted_in_time(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("image-pull")
    done = run(patience=WatchTimeouts(lost=120, pull=1, settle=60, poll=0.05))
    assert done.kind == "stopped"
    assert "ImagePullBackOff: Back-off pulling image" in done.reasons[0]
    assert any("ErrImagePull" in line for line in run.lines)


def test_a_refused_rollout_fails_and_is_not_aborted(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("invalid")
    done = run(patience=WatchTimeouts(settle=0.5, poll=0.05))
    assert done.kind == "failed"
    assert 'AnalysisTemplate "load" not found' in done.reasons[0]
    assert not [path for method, path in api.requests if path.endswith("/status")]


def test_a_rollout_that_is_refused_for_a_moment_goes_on(api: KubeApi, run: Runner) -> None:
    """The controller tries again what came before its Services or templates (1.9.1, rollout/controller.go:425-435)."""
    hold(api)
    api.recording = {"events": [*recording("invalid")["events"], *recording("promoted")["events"]]}
    assert run().kind == "promoted"


def test_a_release_over_another_is_not_taken_for_it(api: KubeApi, run: Runner) -> None:
    """Somebody else's is promoted: whoever watches this one is not told that it is live."""
    hold(api)
    api.recording = recording("promoted")
    template = {"metadata": {"labels": {"app.kubernetes.io/version": "r-999999999999"}}, "spec": {}}
    here = api.happen

    def replaced_after_three(event: Any) -> None:
        here(event)
        if len(api.coming) == len(recording("promoted")["events"]) - 3:
            rollout = api.objects[api.path("Rollout", "sluice")]
            api.put({**rollout, "spec": {**rollout["spec"], "template": template}})

    api.happen = replaced_after_three  # type: ignore[method-assign]
    done = run()
    assert (done.kind, done.passed) == ("failed", False)
    assert done.reasons == ("r-999999999999 was deployed over it, before it had ended",)
    assert not [path for method, path in api.requests if path.endswith("/status")], "the other's canary goes on"


def test_a_deployment_over_a_pause_by_a_person_is_refused(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.objects[api.path("Rollout", "sluice")]["spec"]["paused"] = True
    with pytest.raises(SluiceError, match="a person has paused the Rollout") as caught:
        run()
    assert "kubectl patch rollout sluice" in str(caught.value)
    assert not [path for method, path in api.requests if method in ("PATCH", "DRY")]


def blue_green(api: KubeApi) -> None:
    rollout = api.objects[api.path("Rollout", "sluice")]
    rollout["spec"]["strategy"] = {"blueGreen": {"activeService": "sluice-stable"}}


def test_a_blue_green_rollout_is_not_begun_again(api: KubeApi, run: Runner) -> None:
    """It would be promoted unjudged (Argo Rollouts 1.9.1, rollout/bluegreen.go:113-117)."""
    hold(api)
    blue_green(api)
    with pytest.raises(SluiceError, match="unjudged"):
        run(retry=True)
    assert not [path for method, path in api.requests if method in ("PATCH", "DRY")]


def test_the_pods_of_an_aborted_blue_green_rollout_go_first(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("stopped")
    assert run().kind == "stopped"
    blue_green(api)
    left = api.objects[api.path("ReplicaSet", "sluice-new")]
    left["metadata"]["annotations"] = {"scale-down-deadline": "2026-01-01T00:01:00Z"}
    rollout = api.objects[api.path("Rollout", "sluice")]
    rollout["status"] = {"observedGeneration": "1", "phase": "Healthy", "currentPodHash": "old", "stableRS": "old"}
    rollout["spec"]["template"] = {"metadata": {"labels": {"app.kubernetes.io/version": "r-0"}}, "spec": {}}
    seen: list[int] = []
    look = api.look

    def until_gone() -> None:
        seen.append(len([path for method, path in api.requests if method == "PATCH"]))
        if len(seen) == 4:
            left["status"]["replicas"] = 0
        look()

    api.look = until_gone  # type: ignore[method-assign]
    before = len([path for method, path in api.requests if method == "PATCH"])
    api.recording = recording("promoted")
    assert run().kind == "promoted"
    assert any("waiting for the pods of the attempt before" in line for line in run.lines)
    assert seen[:4] == [before] * 4, "nothing is applied before they are gone"


def test_a_stable_that_is_dead_is_replaced_with_one_flag(api: KubeApi, run: Runner) -> None:
    hold(api)
    with pytest.raises(SluiceError, match="1 pods of stable are available"):
        run(over_dead_stable=True)
    api.objects[api.path("ReplicaSet", "sluice-old")]["status"] = {"replicas": 1, "availableReplicas": 0}
    healthy = {"rollout": {"phase": "Healthy", "currentPodHash": "new", "stableRS": "new"}}
    begun = {"rollout": {"phase": "Progressing", "currentPodHash": "new", "stableRS": "old"}}
    api.recording = {"events": [begun], "on_retry": [begun, healthy]}
    assert run(over_dead_stable=True).kind == "promoted"
    assert any("promoted without being judged" in line for line in run.lines)
    assert api.promoted_in_full


def test_pods_that_a_quota_refuses_are_said_and_aborted(api: KubeApi, run: Runner) -> None:
    hold(api)
    words = 'pods "sluice-new-x" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1'
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
    waits = {"phase": "Progressing", "currentPodHash": "new", "stableRS": "old", "conditions": [refused]}
    back = {"phase": "Degraded", "abort": True, "currentPodHash": "new", "stableRS": "old"}
    api.recording = {"events": [{"rollout": waits}], "on_abort": [{"rollout": back}]}
    done = run(patience=WatchTimeouts(lost=120, pull=0.5, settle=60, poll=0.05))
    assert done.kind == "stopped"
    assert any(words in reason for reason in done.reasons)
    assert any(words in line for line in run.lines)


def test_an_abort_that_is_lost_is_asked_for_again(api: KubeApi, run: Runner) -> None:
    """The controller overwrites a patch that comes while it writes its own status."""
    hold(api)
    api.recording = recording("degraded")
    api.lost_aborts = 2
    assert run().kind == "stopped"
    assert len([path for method, path in api.requests if method == "PATCH" and path.endswith("/status")]) == 3


def test_a_promotion_is_remembered(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    run()
    annotations = api.objects[api.path("Rollout", "sluice")]["metadata"]["annotations"]
    assert annotations["sluice/promoted"] == "new old", "and that before it, though nobody noted it"


def test_a_stop_is_not_remembered_as_a_promotion(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("stopped")
    run()
    assert api.objects[api.path("Rollout", "sluice")]["metadata"]["annotations"]["sluice/promoted"] == "old"


def test_a_lost_connection_is_taken_up_where_it_was(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("outage")
    assert run().kind == "promoted"
    assert "connected again" in run.lines
    assert [line for line in run.lines if line.startswith("weight: ")] == [
        "weight: canary 10 %, stable 90 %",
        "weight: canary 50 %, stable 50 %",
        "weight: canary 0 %, stable 100 %",
    ]


def test_an_api_server_that_stays_away_is_given_up(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = {"events": [*recording("outage")["events"][:2], {"down": 30}]}
    with pytest.raises(ClusterUnreachableError, match="has not answered for 2 s") as caught:
        run(patience=WatchTimeouts(lost=2, poll=0.05))
    assert "run the same command again" in str(caught.value)


def test_an_api_server_that_is_away_from_the_start(api: KubeApi, run: Runner) -> None:
    api.down = True
    with pytest.raises(ClusterUnreachableError):
        run()


@pytest.mark.parametrize("method", ["DRY", "PATCH"])
def test_a_right_that_is_missing_is_named(api: KubeApi, run: Runner, method: str) -> None:
    hold(api)
    words = 'networkpolicies.networking.k8s.io "dns" is forbidden: User "ci" cannot patch resource "networkpolicies"'
    api.refuse[method, "/networkpolicies/dns"] = status(403, "Forbidden", words)
    with pytest.raises(SluiceError, match='User "ci" cannot patch') as caught:
        run()
    assert "lists the rights" in str(caught.value)
    assert api.objects[api.path("Rollout", "sluice")]["metadata"]["generation"] == 1
    if method == "DRY":
        assert not [path for kind, path in api.requests if kind == "PATCH"]


def test_what_may_not_be_watched_is_said_once(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    api.refuse["GET", "/pods"] = status(403, "Forbidden", 'pods is forbidden: User "ci" cannot list resource "pods"')
    assert run().kind == "promoted"
    assert len([line for line in run.lines if line.startswith("pods are not shown")]) == 1


def test_the_rollout_must_be_watched(api: KubeApi, run: Runner) -> None:
    hold(api)
    words = 'rollouts.argoproj.io is forbidden: User "ci" cannot get resource "rollouts"'
    api.refuse["GET", "/rollouts"] = status(403, "Forbidden", words)
    with pytest.raises(SluiceError, match="cannot get"):
        run()


def test_a_cluster_without_argo_rollouts(api: KubeApi, run: Runner) -> None:
    api.missing_groups.add("argoproj.io")
    with pytest.raises(SluiceError, match="no matches for kind") as caught:
        run()
    assert "Argo Rollouts" in str(caught.value)


def test_a_field_that_somebody_else_holds(api: KubeApi, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(api)
    monkeypatch.setattr("sluice.cluster.apply.keep", lambda documents, _: list(documents))
    with pytest.raises(ConflictError, match="rollouts-controller"):
        run()
    assert api.objects[api.path("Rollout", "sluice")]["metadata"]["generation"] == 1


def test_a_rollout_that_never_ends_says_what_it_waits_for(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = {"events": recording("promoted")["events"][:3]}
    with pytest.raises(SluiceError, match="no end after 2 s of watching; it is Progressing, step "):
        run(seconds=2)


def left_behind(api: KubeApi, name: str, days: float) -> None:
    """The manifest of a release that was deployed so long ago."""
    made = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")
    metadata = {"name": f"sluice-release-{name}", "creationTimestamp": made}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


@pytest.mark.parametrize(
    ("played", "kept"), [("promoted", False), ("stopped", True), ("degraded", True), ("invalid", True)]
)
def test_only_a_promotion_tidies_up(api: KubeApi, run: Runner, played: str, kept: bool) -> None:
    hold(api)
    left_behind(api, "aaaaaaaaaa", days=9)
    api.recording = recording(played)
    run(patience=WatchTimeouts(settle=0.5, poll=0.05) if played == "invalid" else QUICK)
    assert (api.path("ConfigMap", "sluice-release-aaaaaaaaaa") in api.objects) is kept
    assert ("tidied up sluice-release-aaaaaaaaaa" in run.lines) is not kept
    own = [name for name in api.objects if "/configmaps/sluice-release-" in name and "aaaaaaaaaa" not in name]
    assert len(own) == 1, "the manifest of the release itself"


def test_a_release_that_was_live_before_tidies_nothing_up(api: KubeApi, run: Runner) -> None:
    hold(api)
    api.recording = recording("promoted")
    run()
    left_behind(api, "aaaaaaaaaa", days=9)
    assert run().kind == "unchanged"
    assert api.path("ConfigMap", "sluice-release-aaaaaaaaaa") in api.objects


def test_a_cluster_that_does_not_let_us_tidy_up_changes_no_verdict(api: KubeApi, run: Runner) -> None:
    hold(api)
    left_behind(api, "aaaaaaaaaa", days=9)
    api.recording = recording("promoted")
    words = 'configmaps "sluice-release-aaaaaaaaaa" is forbidden: User "ci" cannot delete resource "configmaps"'
    api.refuse["DELETE", "/configmaps/"] = status(403, "Forbidden", words)
    assert run().kind == "promoted"
    assert f"nothing more was tidied up: {words}" in run.lines


@pytest.mark.parametrize(("name", "said"), [("promoted", "promoted"), ("stopped", "stopped; ")])
def test_a_rollout_whose_watch_was_lost_is_watched_to_its_end(api: KubeApi, run: Runner, name: str, said: str) -> None:
    hold(api)
    api.recording = recording(name)
    with pytest.raises(SluiceError, match="no end after"):
        run(seconds=0)
    applied = len([method for method, _ in api.requests if method == "PATCH"])
    place = (run.cluster, "sluice-local", "sluice", release().id)
    assert end_of_rollout(*place, show=run.lines.append, seconds=240).startswith(said)
    assert len([method for method, _ in api.requests if method == "PATCH"]) == applied  # it looks, and no more


def test_a_release_that_the_cluster_was_never_given_did_not_become_live(api: KubeApi, run: Runner) -> None:
    place = (run.cluster, "sluice-local", "sluice", release().id)
    assert end_of_rollout(*place, show=run.lines.append, seconds=240) == "the cluster has no Rollout"
    hold(api)
    assert end_of_rollout(*place, show=run.lines.append, seconds=240) == "the cluster has r-000000000000"
    api.down = True
    with pytest.raises(SluiceError, match="the API server"):
        end_of_rollout(*place, show=run.lines.append, seconds=240)
