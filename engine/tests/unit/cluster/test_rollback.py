from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.kubectl import Cluster
from sluice.cluster.rollback import Revision, manifest, rollback
from sluice.core.errors import SluiceError
from support.kubernetes.player import Player

from .conftest import QUICK, bring, documents_of, hold, patches, rollout, stopped, template_hash

ONE, TWO, THREE = (f"r-{digit * 12}" for digit in "123")


@pytest.fixture(autouse=True)
def two_live(plane: Player) -> None:
    hold(plane, ONE)
    hold(plane, TWO)


def remember(plane: Player, *promoted: str, left: str = "") -> None:
    hashes = " ".join(template_hash(plane.api, name) for name in promoted)
    annotations = {"sluice/promoted": hashes, "sluice/rolled-back-from": left and template_hash(plane.api, left)}
    plane.api.merge(plane.api.path("Rollout", "sluice"), {"metadata": {"annotations": annotations}}, "sluice")


def stop(plane: Player, name: str) -> None:
    plane.nodes.verdicts = {"quality": "Failed"}
    bring(plane, name, stopped)
    plane.nodes.verdicts = {}


def back(plane: Player, tmp_path: Path, release: str = "", before: str = "") -> tuple[Any, list[str]]:
    lines: list[str] = []
    cluster = Cluster(tmp_path / "state", lost_seconds=3)
    named = {"release": release, "before": before}
    done = rollback(cluster, plane.api.namespace, "sluice", **named, show=lines.append, seconds=240, patience=QUICK)
    return done, lines


def test_the_record_knows_what_was_live_before(plane: Player, tmp_path: Path) -> None:
    bring(plane, THREE)
    bring(plane, TWO)
    (live, _), lines = back(plane, tmp_path, before=ONE)
    assert live == ONE
    assert f"back to {ONE} (revision 1)" in lines


def test_a_rollback_keeps_the_subscriptions_of_channels(plane: Player, tmp_path: Path) -> None:
    (applied,) = (one for one in documents_of(TWO) if one["kind"] == "Rollout")
    channel = {"notifications.argoproj.io/subscribe.on-rollout-aborted.slack": "alerts"}
    applied["metadata"]["annotations"] = channel
    plane.api.apply(applied, force=True)
    back(plane, tmp_path, ONE)
    assert channel.items() <= rollout(plane)["metadata"]["annotations"].items()


def test_a_release_that_the_cluster_no_longer_holds(plane: Player, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="r-999999999999 is not in the cluster any more; it holds r-2") as caught:
        back(plane, tmp_path, "r-999999999999")
    assert "sluice deploy" in str(caught.value)


def test_nothing_is_guessed_where_nothing_was_remembered(plane: Player, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="unknown which release was promoted before") as caught:
        back(plane, tmp_path)
    assert f"{TWO}, {ONE}" in str(caught.value)
    assert not patches(plane)


def test_a_stopped_release_is_not_gone_back_to_by_name_either(plane: Player, tmp_path: Path) -> None:
    stop(plane, THREE)
    remember(plane, TWO, ONE)
    with pytest.raises(SluiceError, match=f"{THREE} was never promoted here") as caught:
        back(plane, tmp_path, THREE)
    assert f"sluice deploy --release {THREE}" in str(caught.value)


def test_its_manifest_must_be_there_still(plane: Player, tmp_path: Path) -> None:
    remember(plane, TWO, ONE)
    plane.api.delete("ConfigMap", f"sluice-release-{ONE[-10:]}")
    with pytest.raises(SluiceError, match=f"sluice-release-{ONE[-10:]}"):
        back(plane, tmp_path)
    assert not patches(plane)


def test_the_number_of_pods_stays_with_its_owner(plane: Player) -> None:
    live = {**rollout(plane), "spec": {**rollout(plane)["spec"], "replicas": 7}}
    older = Revision(1, "older", ONE, {"metadata": {"labels": {}}, "spec": {}})
    assert manifest(live, older)["spec"]["replicas"] == 7, "`sluice` has applied it"
    live["metadata"] = {**live["metadata"], "managedFields": []}
    assert "replicas" not in manifest(live, older)["spec"]
