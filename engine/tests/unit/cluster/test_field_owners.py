"""Who owns a field, and what our commands make of it."""

from __future__ import annotations

import pytest

from sluice.cluster.kubectl import ConflictError
from support.kubernetes.player import Player

from .conftest import Runner, hold, rollout

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "sluice-canary", "namespace": "sluice-local"},
    "spec": {"selector": {"app": "sluice"}, "ports": [{"port": 80, "name": "http"}]},
}


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
