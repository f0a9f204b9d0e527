"""The life of releases in a cluster with Argo Rollouts and Traefik: promoted, stopped, begun again, taken back.

Against the cluster of KUBECONFIG by `make e2e-cluster` alone; engine/docs/reference/cluster.md says what has to be
there, and `make kind` makes one. The same tests run everywhere against a stub API server that plays what real
controllers wrote (engine/tests/support/kubernetes/recordings). There a test says what becomes of pods and judges; in a
cluster the releases themselves are bad. SLUICE_E2E_PODS=marked is for a control
plane without nodes: as against the stub, and the tests mark the pods. The tests follow two namespaces through their
lives and depend on their order.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import ROOT, Checkout, Ended, Site, variant
from sluice.cluster.kubectl import Cluster as KubectlCluster
from sluice.cluster.manifests import parse
from sluice.cluster.rollout_observer import WatchTimeouts
from sluice.core.processes import wait_until
from sluice.core.workspace import Workspace
from sluice.release import champion, environment_record
from sluice.release.artifact_store import open_artifact_store
from sluice.release.catalogue import push
from sluice.release.manifest import Manifest
from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.marked_pods import Nodes, marked_pods
from support.kubernetes.player import Player
from unit.release.conftest import miniature, release_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
IMAGES = [f"registry.example/{name}@sha256:{digit * 64}" for name, digit in (("sluice", "a"), ("sluice-load", "b"))]
HASH = "rollouts-pod-template-hash"
LEAVING = "scale-down-deadline"
ABSENT = "registry.example/absent@sha256:" + "c" * 64


def describe(words: str) -> Callable[[dict[str, Any]], None]:
    def edit(prompt: dict[str, Any]) -> None:
        prompt["description"] = words

    return edit


def cut_short(prompt: dict[str, Any]) -> None:
    prompt["modelParameters"] = {**prompt.get("modelParameters", {}), "maxTokens": 1}


PLAIN = (
    "first", "good", "slow", "failing", "third", "scaled", "fixed", "unpullable", "crowded", "late", "away", "other",
    "fromgit",
)  # fmt: skip
VARIANTS = {name: describe(f"This is {name}.") for name in PLAIN} | {"worse": cut_short}


@dataclass
class Cluster:
    """Two environments, releases by what they are, who marks pods where they are not real, and the controllers where
    they are played."""

    site: Site
    other: Site
    releases: dict[str, Manifest]
    nodes: Nodes | None = None
    plane: Player | None = None

    def deploy(self, release: str, *words: str, fails: str = "", **options: Any) -> Ended:
        if self.nodes:
            self.nodes.verdicts = {fails: "Failed"} if fails else {}
        return self.site.deploy(self.releases[release], *words, **options)

    def id(self, release: str) -> str:
        return self.releases[release].id

    def by_steps(self, ended: Ended) -> bool:
        """Whether a canary had 10 %, 50 % and then all.

        The controller writes 100 on its way (1.9.1, rollout/trafficrouting.go:266-268, rollout/sync.go:414) for less
        than a quarter of a second (recordings/promoted.json): a command that looks once a second hardly
        meets it. Where the controllers are played every state is seen."""
        seen = [weight for weight in ended.weights if weight]
        return seen == [10, 50, 100] or (self.plane is None and seen == [10, 50])

    def hand(self, what: str) -> Nodes:
        """Where pods are not real, a test can do to them what it likes."""
        if self.nodes is None:
            pytest.skip(f"{what}: not without a hand on the cluster's nodes")
        return self.nodes


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as found:
        yield found


@pytest.fixture(scope="module", params=["played", pytest.param("cluster", marks=pytest.mark.cluster)])
def cluster(
    request: pytest.FixtureRequest, patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("site")
    if request.param == "cluster" and os.environ.get("SLUICE_E2E_PODS") == "marked":
        if not os.environ.get("KUBECONFIG"):
            pytest.fail("KUBECONFIG is not set")
        made = small_cluster(root, Checkout(root / "checkout", patch, {}, pull=5))
        empty(made)
        namespaces = [made.site.namespace, made.other.namespace]
        with marked_pods(KubectlCluster(root / "state"), namespaces, Nodes()) as nodes:
            yield replace(made, nodes=nodes)
        return
    if request.param == "cluster":
        yield real_cluster(root / "checkout", patch)
        return
    api = KubeApi("sluice-e2e")
    plane = Player(api)
    with serving(api):
        environment = {"KUBECONFIG": str(api.kubeconfig(root / "kubeconfig")), "KUBECACHEDIR": str(root / "cache")}
        made = small_cluster(root, Checkout(root / "checkout", patch, environment, poll=0.02, pull=1))
        made.site.make()
        made.other.make()
        yield replace(made, nodes=plane.nodes, plane=plane)


def small_cluster(root: Path, checkout: Checkout) -> Cluster:
    site, other = (Site(checkout, name, *IMAGES) for name in ("e2e", "e2e-other"))
    source = release_of(miniature(root / "small"))[1]
    releases = {name: variant(source, checkout.workspace.releases, edit) for name, edit in VARIANTS.items()}
    return Cluster(site, other, releases)


def empty(cluster: Cluster) -> None:
    for one in (cluster.site, cluster.other):
        one.kubectl("delete", "namespace", one.namespace, "--ignore-not-found", "--wait", "--timeout=100s")
        one.make()


def real_cluster(root: Path, patch: pytest.MonkeyPatch) -> Cluster:
    """The cluster of KUBECONFIG with variants of the champion of this checkout, in the place that its pods read."""
    needed = ("KUBECONFIG", "SLUICE_E2E_IMAGE", "SLUICE_E2E_LOAD_IMAGE", "SLUICE_E2E_ARTEFACTS")
    if absent := [name for name in needed if not os.environ.get(name)]:
        pytest.fail(f"{', '.join(absent)} not set: `make kind` makes a cluster and prints them")
    here = Workspace(ROOT)
    live = champion.champion_id(environment_record.here(here))
    if not live:
        pytest.fail("there is no champion to deploy: `make release` makes one")
    checkout = Checkout(root, patch, {})
    images = (os.environ["SLUICE_E2E_IMAGE"], os.environ["SLUICE_E2E_LOAD_IMAGE"])
    site, other = (Site(checkout, name, *images) for name in ("e2e", "e2e-other"))
    releases = {
        name: variant(here.releases / live, checkout.workspace.releases, edit) for name, edit in VARIANTS.items()
    }
    for made in releases.values():
        push(checkout.workspace.releases / made.id, here, open_artifact_store(os.environ["SLUICE_E2E_ARTEFACTS"]))
    made = Cluster(site, other, releases)
    empty(made)
    # The volume still belongs to the claim that went with the namespace; let go of, it can be claimed anew.
    claim = '{"spec":{"claimRef":null}}'
    site.kubectl("patch", "persistentvolume", "sluice-artefacts", "--type=merge", "--patch", claim)
    return made


def test_a_first_release_that_is_bad_meets_no_visitor(cluster: Cluster) -> None:
    """Argo Rollouts runs no analysis for it (1.9.1, rollout/analysis.go:76-83): `sluice deploy` does."""
    ended = cluster.deploy("failing", fails="quality", fault="error=0.5")
    assert ended.status == 1
    assert "first deploy" in ended.said
    assert ended.stopped_by("quality"), "the reason is named"
    assert "nothing else was live: fix it and deploy again" in ended.said
    assert not cluster.site.has_visitors()
    ended = cluster.site.rollback()
    assert ended.status == 1
    assert "no release has passed its canary here yet" in ended.said


def test_a_first_release_goes_live_without_steps(cluster: Cluster) -> None:
    ended = cluster.deploy("first")
    assert ended.status == 0
    assert "no visitor is here yet" in ended.said
    assert not [weight for weight in ended.weights if 0 < weight < 100]
    assert [name for name in ("quality", "load") if f"-{name}: Successful" in ended.said] == ["quality", "load"]
    assert ended.said.index("no visitor before the release is judged") < ended.said.index("-quality: Successful")
    assert cluster.site.has_visitors()
    assert cluster.site.live() == cluster.id("first")


def test_a_good_release_is_promoted_step_by_step(cluster: Cluster) -> None:
    ended = cluster.deploy("good")
    assert ended.status == 0
    assert cluster.by_steps(ended)
    assert f"{cluster.id('good')} is live in e2e" in ended.said
    assert cluster.site.live() == cluster.id("good")
    assert cluster.deploy("good").said.count("nothing changed") == 1


@pytest.mark.parametrize(
    ("release", "fault", "judge"),
    [
        ("failing", "error=0.5", "quality"),  # the first step asks the canary, and half of its answers are missing
        ("worse", "", "quality"),
        ("slow", "delay=5", "load|ttft-p95|latency-p95"),
    ],
)
def test_a_bad_release_is_stopped_by_the_first_judge_that_finds_it_bad(
    cluster: Cluster, release: str, fault: str, judge: str
) -> None:
    """A step that failed aborts, and the next is not begun (rollout/analysis.go:408, 432-440)."""
    ended = cluster.deploy(release, fails=judge.partition("|")[0], fault=fault)
    assert ended.status == 1
    assert f"{cluster.id(release)} was stopped in e2e" in ended.said
    assert f"{cluster.id(release)} in e2e: stopped" in cluster.site.checkout.summary.read_text()
    assert ended.stopped_by(judge), "the reason is named"
    assert "what was live stays live" in ended.said
    shown = [weight for weight in ended.weights if weight]
    assert shown == ([] if judge == "quality" else [10]), "no visitor meets what quality has stopped"
    assert cluster.site.live() == cluster.id("good")


def test_what_was_stopped_begins_again_only_when_it_is_told_to(cluster: Cluster) -> None:
    """The analyses of before are kept, and what judges anew gets another name (utils/analysis/helpers.go:257-290)."""
    ended = cluster.deploy("slow", fails="quality", fault="delay=5")
    assert ended.status == 1
    assert "--retry begins it again" in ended.said
    ended = cluster.deploy("slow", "--retry", fails="quality", fault="delay=5")
    assert ended.status == 1
    assert "trying again" in ended.said
    if cluster.nodes:  # in a cluster it is slow still, and the load stage says so
        assert ended.stopped_by("quality")
        assert not ended.stopped_by("load"), "the reason of the attempt before is none of this one"
    assert cluster.site.live() == cluster.id("good")


def test_after_three_stops_a_rollback_takes_the_release_out_and_another_goes_back(cluster: Cluster) -> None:
    """Stopped releases use up the history of revisions (Argo Rollouts 1.9.1, rollout/sync.go:429-480)."""
    assert cluster.site.phase() == "Degraded"
    ended = cluster.site.rollback()
    assert ended.status == 0
    assert f"{cluster.id('good')} is live in e2e" in ended.said
    assert cluster.site.phase() == "Healthy"
    ended = cluster.site.rollback()
    assert ended.status == 0, "what was promoted before it, and not what was stopped since"
    assert not [weight for weight in ended.weights if 0 < weight < 100], "without the steps of a canary"
    assert cluster.site.live() == cluster.id("first")
    assert cluster.site.rollback(cluster.id("first")).said.count("nothing changed") == 1


def test_a_rollback_is_undone_without_analyses(cluster: Cluster) -> None:
    """By its own two steps: all pods first, then all visitors (rollout/trafficrouting.go:248-264)."""
    if cluster.nodes:
        cluster.nodes.verdicts = {}
    ended = cluster.site.rollback(cluster.id("good"))
    assert ended.status == 0
    assert not re.search(r"^\S+ +analysis ", ended.said, re.MULTILINE)
    assert not [weight for weight in ended.weights if 0 < weight < 100]
    assert cluster.site.live() == cluster.id("good")


def test_a_stopped_release_by_name_after_an_undo(cluster: Cluster) -> None:
    """A rollback renumbers what it goes back to (rollout/sync.go:57-92), and the stopped one is then the oldest."""
    ended = cluster.site.rollback(cluster.id("failing"))
    assert ended.status == 1
    assert "was never promoted here" in ended.said
    assert cluster.site.live() == cluster.id("good")


def test_a_pause_by_a_person_holds_deployments_and_no_rollback(cluster: Cluster) -> None:
    """With it the controller scales nothing (rollout/context.go:134-136)."""
    cluster.site.patch({"spec": {"paused": True}})
    ended = cluster.deploy("third")
    assert ended.status == 1
    assert "the Rollout was paused by hand" in ended.said
    ended = cluster.site.rollback(cluster.id("first"))
    assert ended.status == 0
    assert cluster.site.live() == cluster.id("first")
    assert not cluster.site.rollout["spec"].get("paused")
    ended = cluster.deploy("third")
    assert ended.status == 0, "and the next deployment goes on"


def test_a_canary_that_a_person_pauses_in_its_middle_is_taken_back(cluster: Cluster) -> None:
    ended: list[Ended] = []

    def pause_and_go_back() -> None:
        cluster.site.patch({"spec": {"paused": True}})
        ended.append(cluster.site.rollback())

    over = cluster.deploy("good", during={"canary 10 %": pause_and_go_back})
    assert (ended[0].status, over.status) == (0, 1)
    assert cluster.site.live() == cluster.id("third")
    assert f"{cluster.id('good')} is live" not in over.said


def test_fewer_pods_in_the_same_deployment_as_a_release(cluster: Cluster) -> None:
    """The status of the release before is published under the new generation (rollout/sync.go:272-313, 757)."""
    cluster.site.replicas = 3
    assert cluster.deploy("first").status == 0
    cluster.site.replicas = 1
    ended = cluster.deploy("scaled")
    assert ended.status == 0
    assert cluster.by_steps(ended), "not told that it is live before its canary"
    assert cluster.site.live() == cluster.id("scaled")


def test_a_stable_that_is_dead_is_replaced_with_one_flag(cluster: Cluster) -> None:
    """promoteFull leaves out analyses and steps (rollout/analysis.go:78, rollout/canary.go:379-385)."""
    nodes = cluster.hand("a dead stable")
    # With stable dead the controller would keep the last pod of before for good (rollout/canary.go:187-190).
    cluster.site.rest()
    nodes.dead = {cluster.id("scaled")}
    assert wait_until(lambda: not cluster.site.rollout["status"].get("availableReplicas"), seconds=300)
    ended = cluster.deploy("fixed", fails="quality")  # nobody answers for stable
    assert ended.status == 1
    assert ended.stopped_by("quality")
    assert "--over-dead-stable" in ended.said
    ended = cluster.deploy("fixed", "--over-dead-stable")
    assert ended.status == 0
    assert "promoted without being judged" in ended.said
    assert cluster.site.live() == cluster.id("fixed")
    nodes.dead = set()


def test_an_image_that_cannot_be_pulled(cluster: Cluster) -> None:
    before = cluster.site.live()
    ended = cluster.deploy("unpullable", image=ABSENT)
    assert ended.status == 1
    assert "ErrImagePull" in ended.said or "ImagePullBackOff" in ended.said
    assert not [weight for weight in ended.weights if weight]
    assert cluster.site.live() == before


def test_a_quota_that_leaves_no_room(cluster: Cluster) -> None:
    """The ReplicaSet's own condition is all that tells (rollout/sync.go:713-720, 856-888)."""
    cluster.site.rollback()
    before = cluster.site.live()
    cluster.site.rest()  # a pod that goes later would leave its room to the canary
    used = str(len(cluster.site.pods()))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": used}}}
    quota["metadata"] = {"name": "pods", "namespace": cluster.site.namespace}
    cluster.site.kubectl("apply", "--server-side", "-f", "-", given=quota)
    ended = cluster.deploy("crowded")
    cluster.site.kubectl("delete", "resourcequota", "pods", "-n", cluster.site.namespace)
    assert ended.status == 1
    assert "the cluster makes no pods for it" in ended.said
    assert "exceeded quota: pods" in ended.said
    assert cluster.site.live() == before


def test_a_release_that_is_never_ready_is_taken_back_also_after_one_that_was_stopped(cluster: Cluster) -> None:
    """The deadline of pods that went stays on their ReplicaSet, and the controller then takes no later release back for
    its progress deadline (rollout/sync.go:374, 575-587, 672)."""
    nodes = cluster.hand("a release that is never ready")
    assert [one for one in cluster.site.listed("replicasets") if LEAVING in (one["metadata"]["annotations"] or {})]
    before = cluster.site.live()
    nodes.dead = {cluster.id("late")}
    ended = cluster.deploy("late")
    nodes.dead = set()
    assert ended.status == 1
    assert re.search(r"^  pod \S+: Running, not ready$", ended.said, re.MULTILINE), "the reason is named"
    # The controller's own words are there for less than a quarter of a second (recordings/deadline-abort.json): the
    # next reconcile writes that it aborted, and not why (rollout/sync.go:607-617).
    assert cluster.plane is None or "has timed out progressing" in ended.said
    assert "aborting" not in ended.said, "the controller does, also where nobody watches"
    assert cluster.site.live() == before


def test_an_api_server_that_is_away_in_mid_canary(cluster: Cluster) -> None:
    plane = cluster.plane
    if plane is None:
        pytest.skip("nobody takes the API server of a cluster away")
    assert WatchTimeouts().lost > 300, "what everybody has"
    leave, come_back = (partial(setattr, plane.api, "down", down) for down in (True, False))
    ended = cluster.deploy("away", during={"canary 10 %": leave, "connection lost": come_back})
    assert ended.status == 0
    assert "connected again" in ended.said
    assert cluster.site.live() == cluster.id("away")
    assert cluster.by_steps(ended)


def test_a_stop_while_stable_lacks_a_pod_gives_the_visitors_back(cluster: Cluster) -> None:
    """The controller writes no weight then (rollout/trafficrouting.go:273)."""
    nodes = cluster.hand("a stable that lacks a pod")
    cluster.site.replicas = 3
    assert cluster.deploy("third").status == 0
    cluster.site.rest()
    nodes.lacking = {cluster.site.pods()[0]["metadata"]["name"]}
    if cluster.plane:
        cluster.plane.short = True
    ended = cluster.deploy("slow", fails="load")
    assert ended.status == 1
    assert "the stopped release keeps 10 % of the visitors" in ended.said
    assert "all visitors are on stable" in ended.said
    assert cluster.site.live() == cluster.id("third")
    stable = cluster.site.rollout["status"]["stableRS"]
    selected = [one["spec"].get("selector", {}).get(HASH) for one in cluster.site.listed("services", "v1")]
    assert {one for one in selected if one} == {stable}
    nodes.lacking, nodes.verdicts = set(), {}
    cluster.site.replicas = 1
    if cluster.plane:
        cluster.plane.short = False


def test_a_first_release_that_is_bad_says_so_and_the_next_takes_its_place(cluster: Cluster) -> None:
    """In a second environment of the same cluster. The controller calls a first release stable before one of its pods
    is ready (rollout/sync.go:941-942)."""
    cluster.hand("a first release that is never ready").dead = {cluster.id("failing")}
    ended = cluster.other.deploy(cluster.releases["failing"])
    assert ended.status == 1
    assert "nothing else was live: fix it and deploy again" in ended.said
    assert not cluster.other.has_visitors()
    ended = cluster.other.deploy(cluster.releases["other"])
    assert ended.status == 0, "nobody is there to be protected from a stable that is dead"
    assert cluster.other.has_visitors()
    assert cluster.other.live() == cluster.id("other")


def test_two_environments_in_one_cluster_do_not_answer_for_each_other(cluster: Cluster) -> None:
    if cluster.nodes is None:
        pytest.skip("one volume of artefacts is bound to one namespace")
    before, live = cluster.site.rollout, cluster.site.live()
    assert cluster.other.deploy(cluster.releases["good"]).status == 0
    assert cluster.other.rollback().status == 0
    assert cluster.other.live() == cluster.id("other")
    after = cluster.site.rollout
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])
    assert cluster.site.live() == live
    routes = [*cluster.site.routes(), *cluster.other.routes()]
    assert len(set(routes)) == len(routes) == 4, routes


def test_a_release_from_git_is_watched_and_self_healing_leaves_its_canary_alone(cluster: Cluster) -> None:
    """As Flux applies: server-side, with force, and a route with weights only if it is not there (its
    ssa/manager_apply.go, `shouldSkipApply`). In the second environment, which `sluice deploy` made."""
    site, git = cluster.other, cluster.site.checkout.workspace.root / "git"
    if cluster.nodes:
        cluster.nodes.verdicts = {}

    def heal() -> None:
        for one in parse((git / "release.yaml").read_text()):
            if one["metadata"].get("annotations", {}).get("kustomize.toolkit.fluxcd.io/ssa") != "IfNotPresent":
                words = ["--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", "-"]
                site.kubectl("apply", *words, given=one)

    selectors: list[list[Any]] = []

    def heal_in_mid_canary() -> None:
        for _ in range(2):
            heal()
            selectors.append([one["spec"].get("selector") for one in site.listed("services", "v1")])

    site.write_overlay()
    named = ["--release", cluster.id("fromgit"), "--image", site.images[0], "--load-image", site.images[1]]
    said = site.checkout.sluice(
        "manifests", "render", site.environment, *named, "--into", str(git), "--no-first", during={}
    )
    assert said.status == 0
    ended = site.sluice("deploy", *named, "--watch", during={"waiting until": heal, "canary 10 %": heal_in_mid_canary})
    assert ended.status == 0
    assert cluster.by_steps(ended), "self-healing took no step back"
    assert selectors[0] == selectors[1], "nor a selector"
    assert site.live() == cluster.id("fromgit")
    ended = cluster.other.deploy(cluster.releases["good"])
    assert ended.status == 1
    assert "it comes from git" in ended.said
