"""A release that is staged and promoted in a process of its own, killed by SIGKILL at points from first to last: the
next run completes it, and a fresh machine finds it whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.release import catalogue
from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from sluice.release.catalogue import fetch
from sluice.release.environment_record import EnvironmentRecord
from sluice.release.manifest import Manifest
from unit.release import killed_promotion
from unit.release.killed_promotion import COMMIT, stage_and_promote
from unit.release.stores import StoreUnderTest, shared

__all__ = ["shared"]

POINTS, FEWER = 8, 4  # where the store is a server, each effect is the same call of another store


def run(address: str, workspace: Workspace, release: str, number: int) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root / 'tests'}"}
    words = [sys.executable, killed_promotion.__file__, address, str(workspace.root), release, str(number)]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=600)


def state(store: ArtifactStore) -> object:
    """What is in the record, but times."""
    record = EnvironmentRecord(store, "production")
    events = [(event.event, event.id, event.commit) for event in record.history()]
    return events, [(entry.id, entry.digest, entry.commit, entry.making) for entry in catalogue.newest(store)]


@pytest.mark.usefixtures("small_models")
@pytest.mark.timeout(1800)
def test_a_promotion_killed_at_any_point_is_completed_by_the_next_run(
    shared: StoreUnderTest,
    workspace: Workspace,
    make: Callable[..., tuple[Manifest, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = make()[0].id

    unbroken = run(shared.beside("unbroken"), workspace, release, 0)
    assert unbroken.returncode == 0, unbroken.stderr
    effects = int(unbroken.stdout)
    assert effects > 2 * POINTS
    points = POINTS if "://" not in shared.address else FEWER
    wanted = state(open_artifact_store(shared.beside("unbroken")))
    monkeypatch.setattr("sluice.release.mlflow_registry.promote_aliases", lambda *_: None)
    for point in range(points):
        number = 1 + point * (effects - 1) // (points - 1)  # from the first to the last
        killed = run(shared.beside(str(point)), workspace, release, number)
        assert killed.returncode == -signal.SIGKILL, f"point {point}: {killed.stderr}"
        stage_and_promote(shared.beside(str(point)), workspace, release)
        store = open_artifact_store(shared.beside(str(point)))
        assert state(store) == wanted, f"point {point}, effect {number} of {effects}"
        entry = catalogue.find(store, release)
        assert entry.commit == COMMIT
        with monkeypatch.context() as machine:
            machine.setenv("SLUICE_CACHE", str(tmp_path / f"cache-{point}"))
            fetch(entry.digest, store, tmp_path / "brought" / str(point), workspace)
        assert all(store.has(digest) for digest in entry.making.values())
