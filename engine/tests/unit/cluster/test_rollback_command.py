"""`sluice rollback` moves the cluster and the record together."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.cluster import release_overlay, rollback
from sluice.cluster.rollout_outcome import RolloutOutcome
from sluice.core.workspace import Workspace
from sluice.release import champion, mlflow_registry
from sluice.release.catalogue import add
from sluice.release.environment_record import EnvironmentRecord, open_record
from sluice.release.manifest import Manifest
from unit.release.conftest import make, small_models, workspace

__all__ = ["make", "small_models", "workspace"]

Run = Callable[..., int]
Make = Callable[..., tuple[Manifest, Path]]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    said: dict[str, Any] = {"live": "", "ended": RolloutOutcome("promoted")}

    def go_back(*_: Any, release: str = "", before: str = "", **__: Any) -> tuple[str, RolloutOutcome | None]:
        said.update(release=release, before=before)
        return said["live"] or release or before, said["ended"]

    monkeypatch.setattr(rollback, "rollback", go_back)
    monkeypatch.setattr(release_overlay, "place_of_rollout", lambda *_: ("namespace", "sluice"))
    monkeypatch.setattr(mlflow_registry, "promote_aliases", lambda *_: None)
    return said


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(cli, "die_with_parent", lambda: None)
    monkeypatch.setattr(cli, "watch_parent", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["sluice", *words])
        return cli.main()

    return call


@pytest.fixture
def record(
    workspace: Workspace,
    small_models: None,  # noqa: ARG001
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> EnvironmentRecord:
    monkeypatch.setenv("SLUICE_ARTEFACTS", str(tmp_path / "place"))
    found = open_record(workspace, "production", {"SLUICE_ARTEFACTS": str(tmp_path / "place")})
    for changed in ({"adapter": None}, {}):
        manifest, folder = make(**changed)
        add(found.store, workspace, folder, "1" * 40)
        found.append("promoted", manifest.id, commit="1" * 40)
    return found


def ids(record: EnvironmentRecord) -> list[str]:
    return [event.id for event in record.history()]


def test_the_record_follows_where_the_cluster_went(
    run: Run, cluster: dict[str, Any], record: EnvironmentRecord
) -> None:
    _, second = ids(record)
    cluster["live"] = second
    assert run("rollback", "previous", "--env", "production") == 0
    assert champion.champion_id(record) == second
    assert record.history()[-1].event == "rolled-back"  # so that nothing else sends its commit down the road again


def test_a_cluster_that_did_not_go_back_leaves_the_record(
    run: Run, cluster: dict[str, Any], record: EnvironmentRecord
) -> None:
    before = record.history()
    cluster["ended"] = RolloutOutcome("failed", ("its pods do not start",))
    assert run("rollback", "--env", "production") == 1
    assert record.history() == before
