"""Canaries in a cluster with Argo Rollouts and Traefik: promoted step by step, aborted three ways, and back.

Against the cluster of KUBECONFIG by `make e2e-cluster` alone; engine/docs/reference/cluster.md says what has to be
there, and `make kind` makes one. The same tests run everywhere against a stub API server, where the controllers are a
recording: that shows that overlay, releases, commands and what is asked of their words fit together, and nothing about
a cluster. The tests follow one namespace through its life and depend on their order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import NAMESPACE, ROOT, Controllers, Site, variant
from sluice.core.workspace import Workspace
from sluice.release import champion, environment_record
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import Manifest, load
from sluice.release.transfer import push
from support.kubernetes.api_server import KubeApi, serving
from unit.release.conftest import miniature, release_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
IMAGES = [f"registry.example/{name}@sha256:{digit * 64}" for name, digit in (("sluice", "a"), ("sluice-load", "b"))]
RECORDINGS = ROOT / "engine" / "tests" / "unit" / "cluster" / "recordings"


def describe(words: str) -> Callable[[dict[str, Any]], None]:
    """Another release that answers the same: its prompt says so to people only."""

    def edit(prompt: dict[str, Any]) -> None:
        prompt["description"] = words

    return edit


def cut_short(prompt: dict[str, Any]) -> None:
    """Answers of one token, quick and wrong."""
    prompt["modelParameters"] = {**prompt.get("modelParameters", {}), "maxTokens": 1}


VARIANTS = {
    "first": describe("The first."),
    "good": describe("As good as the first."),
    "slow": describe("As good, and started slow."),
    "failing": describe("As good, and started failing."),
    "worse": cut_short,
}


@dataclass
class Cluster:
    """A site, its releases by what they are, and who plays the controllers where nobody else does."""

    site: Site
    releases: dict[str, Manifest]
    controllers: Controllers | None

    def expect(self, release: str, ending: str, metric: str = "ttft-p95") -> None:
        if self.controllers:
            self.controllers.expect(self.releases[release].id, ending, metric)

    def expect_back(self, release: str) -> None:
        if self.controllers:
            self.controllers.expect_back(self.releases[release].id)


@pytest.fixture(scope="module", params=["stub", pytest.param("cluster", marks=pytest.mark.cluster)])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("site")
    if request.param == "cluster":
        yield real_cluster(root / "checkout")
        return
    with serving(KubeApi(NAMESPACE)) as api:
        environment = {"KUBECONFIG": str(api.kubeconfig(root / "kubeconfig")), "KUBECACHEDIR": str(root / "cache")}
        site = Site(root / "checkout", *IMAGES, environment)
        source = small_release(root / "small")
        releases = {name: variant(source, site.workspace.releases, edit) for name, edit in VARIANTS.items()}
        site.give_keys()
        assert set(api.objects) >= {api.path("Secret", name) for name in ("sluice-keys", "sluice-load-key")}
        yield Cluster(site, releases, Controllers(api, RECORDINGS))


def small_release(root: Path) -> Path:
    """A release of no model and three chunks, for a cluster in which nothing starts."""
    return release_of(miniature(root))[1]


def real_cluster(root: Path) -> Cluster:
    """The cluster of KUBECONFIG with variants of the champion of this checkout, in the place that its pods read."""
    needed = ("KUBECONFIG", "SLUICE_E2E_IMAGE", "SLUICE_E2E_LOAD_IMAGE", "SLUICE_E2E_ARTEFACTS")
    if absent := [name for name in needed if not os.environ.get(name)]:
        pytest.fail(f"{', '.join(absent)} not set: `make kind` makes a cluster and prints them")
    here = Workspace(ROOT)
    live = champion.champion_id(environment_record.here(here))
    if not live:
        pytest.fail("there is no champion to deploy: `make release` makes one")
    site = Site(root, os.environ["SLUICE_E2E_IMAGE"], os.environ["SLUICE_E2E_LOAD_IMAGE"], {})
    releases = {name: variant(here.releases / live, site.workspace.releases, edit) for name, edit in VARIANTS.items()}
    for made in releases.values():
        push(site.workspace.releases / made.id, here, open_artifact_store(os.environ["SLUICE_E2E_ARTEFACTS"]))
    site.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=100s")
    # The volume still belongs to the claim that went with the namespace; let go of, it can be claimed anew.
    site.kubectl(
        "patch", "persistentvolume", "sluice-artefacts", "--type=merge", "--patch", '{"spec":{"claimRef":null}}'
    )
    site.give_keys()
    return Cluster(site, releases, None)


def test_the_variants_are_releases_of_their_own(cluster: Cluster) -> None:
    made = cluster.releases
    assert len({one.id for one in made.values()}) == len(VARIANTS)
    digests = {name: one.prompts["answer"] for name, one in made.items()}
    assert {name for name, digest in digests.items() if digest != digests["first"]} == {"worse"}
    for one in made.values():
        assert load(cluster.site.workspace.releases / one.id) == one


def test_a_first_release_goes_live_without_steps(cluster: Cluster) -> None:
    cluster.expect("first", "first")
    ended = cluster.site.deploy(cluster.releases["first"])
    assert ended.status == 0
    assert "first deploy" in ended.said
    assert cluster.site.live() == cluster.releases["first"].id


def test_a_good_release_is_promoted_step_by_step(cluster: Cluster) -> None:
    cluster.expect("good", "promoted")
    ended = cluster.site.deploy(cluster.releases["good"])
    assert ended.status == 0
    # The last weight is kept in the status: Argo Rollouts 1.9.1, rollout/trafficrouting.go:266-268 and sync.go:414.
    assert [weight for weight in ended.weights if weight] == [10, 50, 100]
    assert f"{cluster.releases['good'].id} is live in e2e" in ended.said
    assert cluster.site.live() == cluster.releases["good"].id


@pytest.mark.parametrize(
    ("release", "fault", "metric"),
    [
        ("slow", "delay=5", r"load|ttft-p95|latency-p95"),
        ("failing", "error=0.5", r"quality"),  # the first step asks the canary, and half of its answers are missing
        ("worse", "", r"quality"),
    ],
)
def test_a_bad_release_is_aborted_at_the_first_step(cluster: Cluster, release: str, fault: str, metric: str) -> None:
    cluster.expect(release, "stopped", metric.rpartition("|")[2])
    ended = cluster.site.deploy(cluster.releases[release], fault=fault)
    assert ended.status == 1
    assert f"{cluster.releases[release].id} was stopped in e2e" in ended.said
    assert re.search(rf"^  \S+: ({metric}): (Failed|Error)", ended.said, re.MULTILINE), "the reason is named"
    assert max(ended.weights) <= 10
    assert ended.weights[-1] == 0
    assert cluster.site.live() == cluster.releases["good"].id


def test_after_an_abort_a_rollback_takes_the_release_out(cluster: Cluster) -> None:
    assert cluster.site.phase() == "Degraded"
    cluster.expect_back("good")
    ended = cluster.site.rollback()
    assert ended.status == 0
    assert f"{cluster.releases['good'].id} is live in e2e" in ended.said
    assert cluster.site.phase() == "Healthy"
    assert cluster.site.live() == cluster.releases["good"].id


def test_a_rollback_goes_to_an_earlier_release_without_steps(cluster: Cluster) -> None:
    cluster.expect_back("first")
    ended = cluster.site.rollback(cluster.releases["first"].id)
    assert ended.status == 0
    assert cluster.site.live() == cluster.releases["first"].id
    assert cluster.site.rollback(cluster.releases["first"].id).said.count("nothing changed") == 1
