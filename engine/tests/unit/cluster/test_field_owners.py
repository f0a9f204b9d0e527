"""Who owns a field: the stub API server's server-side apply, and what our commands make of it."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.cluster.kubectl import ConflictError
from support.kubernetes.field_ownership import FieldConflictError, applied, updated
from support.kubernetes.player import Player

from .conftest import Runner, hold, rollout

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "sluice-canary", "namespace": "sluice-local"},
    "spec": {"selector": {"app": "sluice"}, "ports": [{"port": 80, "name": "http"}]},
}


def changed(**spec: Any) -> dict[str, Any]:
    return {**SERVICE, "spec": {**SERVICE["spec"], **spec}}  # type: ignore[dict-item]


@pytest.fixture
def live() -> dict[str, Any]:
    """Ours, and then with a selector by the controller."""
    ours = applied(None, SERVICE, "sluice", force=False)
    return updated(
        ours, {**ours, "spec": {**ours["spec"], "selector": {"app": "sluice", "hash": "1"}}}, "rollouts-controller"
    )


def test_what_another_has_changed_is_a_conflict_until_it_is_forced(live: dict[str, Any]) -> None:
    with pytest.raises(FieldConflictError) as caught:
        applied(live, SERVICE, "sluice", force=False)
    # As Kubernetes 1.34 said it to us.
    words = 'Apply failed with 1 conflict: conflict with "rollouts-controller" using v1: .spec.selector'
    assert caught.value.message == words
    assert applied(live, SERVICE, "sluice", force=True)["spec"]["selector"] == {"app": "sluice"}


def test_what_is_let_go_of_goes_only_where_nobody_else_owns_it(live: dict[str, Any]) -> None:
    without = {key: one for key, one in SERVICE["spec"].items() if key != "selector"}  # type: ignore[attr-defined]
    assert applied(live, {**SERVICE, "spec": without}, "sluice", force=False)["spec"]["selector"]["hash"] == "1"
    ours = applied(None, SERVICE, "sluice", force=False)
    assert "selector" not in applied(ours, {**SERVICE, "spec": without}, "sluice", force=False)["spec"]
    port = [{"port": 80}]
    assert applied(ours, changed(ports=port), "sluice", force=False)["spec"]["ports"] == port, "a field of an item"
    other = applied(ours, changed(ports=[{"port": 81}]), "sluice", force=False)
    assert other["spec"]["ports"] == [{"port": 81}], "an item is known by its port"


def test_a_value_that_is_the_same_is_no_conflict(live: dict[str, Any]) -> None:
    same = changed(selector={"app": "sluice", "hash": "1"})
    assert applied(live, same, "sluice", force=False)["spec"] == live["spec"]


def test_an_autoscaler_that_is_turned_on_finds_the_pods_that_are_there(plane: Player, run: Runner) -> None:
    """Of a number that nobody owns the controller makes 1 (Argo Rollouts 1.9.1, rollout/controller.go:445-447)."""
    run.one("Rollout")["spec"]["replicas"] = 3
    assert run().kind == "promoted"
    del run.one("Rollout")["spec"]["replicas"]
    assert run().passed
    assert rollout(plane)["spec"]["replicas"] == 3
    assert all(one["spec"]["replicas"] == 3 for one in plane.api.all("ReplicaSet"))
    with pytest.raises(ConflictError, match="rollouts-controller"):
        run.cluster.apply([SERVICE])


def test_an_environment_that_goes_over_to_other_services_takes_the_weights_with_it(plane: Player, run: Runner) -> None:
    """The controller owns them from its first canary on (1.9.1, rollout/trafficrouting/traefik/traefik.go:88-137)."""
    hold(plane)
    assert run().kind == "promoted"
    weighted = run.one("TraefikService")["spec"]["weighted"]
    weighted["services"] = [one for one in weighted["services"] if one["name"] == "sluice-stable"]
    assert run().passed
    live = plane.api.find("TraefikService", "sluice")
    assert live is not None
    assert [one["name"] for one in live["spec"]["weighted"]["services"]] == ["sluice-stable"]
