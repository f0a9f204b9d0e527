from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.cli.deployment import render
from sluice.cli.deployment import rollback as command
from sluice.cluster import release_overlay, rollback
from sluice.cluster.rollout_outcome import RolloutOutcome
from sluice.core.errors import CanaryStopped, GateFailed
from sluice.core.workspace import Workspace
from sluice.release import champion, mlflow_registry
from sluice.release.catalogue import add
from sluice.release.environment_record import EnvironmentRecord, open_record
from sluice.release.manifest import Manifest
from unit.release.conftest import make, small_models, workspace

__all__ = ["make", "small_models", "workspace"]


@pytest.fixture
def record(
    workspace: Workspace,
    small_models: None,  # noqa: ARG001
    make: Callable[..., tuple[Manifest, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> EnvironmentRecord:
    """Two releases were live in production, one after the other."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("SLUICE_ARTEFACTS", str(tmp_path / "place"))
    monkeypatch.setattr(release_overlay, "place_of_rollout", lambda *_: ("namespace", "sluice"))
    monkeypatch.setattr(mlflow_registry, "promote_aliases", lambda *_: None)
    found = open_record(workspace, "production", {"SLUICE_ARTEFACTS": str(tmp_path / "place")})
    for changed in ({"adapter": None}, {}):
        manifest, folder = make(**changed)
        add(found.store, workspace, folder, "1" * 40)
        found.append("promoted", manifest.id, commit="1" * 40)
    return found


def ends(monkeypatch: pytest.MonkeyPatch, release: str, outcome: RolloutOutcome) -> None:
    def go_back(*_: Any, recorded: str, **__: Any) -> tuple[str, RolloutOutcome]:
        return release or recorded, outcome

    monkeypatch.setattr(rollback, "rollback", go_back)


def test_the_record_follows_where_the_cluster_went(record: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (event.id for event in record.history())
    ends(monkeypatch, second, RolloutOutcome("promoted"))  # a canary was under way: it went back to stable
    command("production")
    assert champion.champion_id(record) == second
    assert record.history()[-1].event == "rolled-back"  # so that nothing else sends its commit down the road again
    ends(monkeypatch, "", RolloutOutcome("promoted"))
    command("production")
    assert champion.champion_id(record) == first, "the record knows which was live before"


def test_a_cluster_that_did_not_go_back_leaves_the_record(
    record: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record.history()
    ends(monkeypatch, "", RolloutOutcome("failed", ("its pods do not start",)))
    with pytest.raises(CanaryStopped, match="its pods do not start"):
        command("production")
    assert record.history() == before


def test_only_what_was_live_is_rendered_without_its_analyses(
    record: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = record.history()[0].id
    monkeypatch.setattr(release_overlay, "render_release", lambda *_: ["rendered"])
    assert render("production", release, "", "", rollback=True)[2] == ["rendered"]
    monkeypatch.setattr(EnvironmentRecord, "was_live", lambda *_: False)
    with pytest.raises(GateFailed, match="never live in production"):
        render("production", release, "", "", rollback=True)
