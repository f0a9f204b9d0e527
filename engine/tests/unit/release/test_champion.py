import shutil
from pathlib import Path

import pytest

from sluice.core.errors import GateFailed, SluiceError
from sluice.core.workspace import Workspace
from sluice.release import catalogue, champion, mlflow_registry
from sluice.release.champion import promote, settle
from sluice.release.environment_record import EnvironmentRecord, here, open_record
from sluice.release.manifest import Manifest, load_judgement
from unit.release.conftest import Make, verdict


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Registry:
    """Remembers the alias. `killed`: the next move is cut off `before` or `after` it is done."""

    def __init__(self) -> None:
        self.alias: str | None = None
        self.killed = ""

    def move(self, _: Workspace, manifest: Manifest, __: str) -> None:
        killed, self.killed = self.killed, ""
        if killed == "before":
            raise Killed
        self.alias = manifest.id
        if killed:
            raise Killed


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    played = Registry()
    monkeypatch.setattr(mlflow_registry, "promote_aliases", played.move)
    return played


def events(workspace: Workspace) -> list[tuple[str, str]]:
    return [(event.event, event.id) for event in here(workspace).history()]


def test_promote_moves_alias_and_pointer_and_notes_it(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, _ = make()
    promote(workspace, here(workspace), manifest.id, reason="all steps held")
    assert champion.champion(workspace, here(workspace)) == manifest
    assert registry.alias == manifest.id
    assert events(workspace) == [("promoting", manifest.id), ("promoted", manifest.id)]
    assert here(workspace).history()[-1].reason == "all steps held"
    assert not promote(workspace, here(workspace), manifest.id)
    assert len(events(workspace)) == 2


def test_a_damaged_release_is_refused_before_any_move(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, folder = make()
    (folder / "adapter.gguf").write_bytes(b"other")
    with pytest.raises(SluiceError, match=r"adapter\.gguf"):
        promote(workspace, here(workspace), manifest.id)
    assert (champion.champion_id(here(workspace)), registry.alias, events(workspace)) == (None, None, [])


def test_a_release_that_a_gate_refused_is_never_promoted(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, _ = make(verdicts=[verdict(passed=False)])
    with pytest.raises(GateFailed, match="was refused by f1_holds"):
        promote(workspace, here(workspace), manifest.id)
    assert (champion.champion_id(here(workspace)), registry.alias, events(workspace)) == (None, None, [])


def test_what_was_live_may_come_back_though_refused_since(workspace: Workspace, make: Make, registry: Registry) -> None:
    record = here(workspace)
    old, new = make(adapter=None)[0], make()[0]
    for release in (old, new):
        promote(workspace, record, release.id)
    assert make(adapter=None, parent=new.id, verdicts=[verdict(passed=False)])[0] == old
    folder = workspace.releases / old.id
    assert "f1_holds" in champion.refusal(record, folder)
    with pytest.raises(GateFailed, match="was refused by f1_holds"):
        promote(workspace, record, old.id)
    assert promote(workspace, record, old.id, back=True)
    assert champion.refusal(record, folder) == ""
    assert promote(workspace, record, old.id, commit="f" * 40), "as where k8s/ has changed"
    assert (champion.champion_id(record), registry.alias) == (old.id, old.id)


@pytest.mark.usefixtures("small_models")
def test_a_newer_judgement_in_the_store_is_seen_everywhere(workspace: Workspace, make: Make, tmp_path: Path) -> None:
    record = open_record(workspace, "staging", {"SLUICE_ARTEFACTS": str(tmp_path / "place")})
    manifest, folder = make()
    catalogue.add(record.store, workspace, folder, "0" * 40)
    shutil.copytree(folder, tmp_path / "this machine")
    assert make(commit="1" * 40, verdicts=[verdict(passed=False)])[1] == folder  # on another machine
    catalogue.add(record.store, workspace, folder, "1" * 40)
    shutil.rmtree(folder)
    shutil.move(tmp_path / "this machine", folder)
    (folder / "rehearsal.json").write_text("{}")
    assert not champion.refusal(record, folder)
    with pytest.raises(GateFailed, match="was refused by f1_holds"):
        promote(workspace, record, manifest.id)
    assert load_judgement(folder).commit == "1" * 40
    assert not (folder / "rehearsal.json").exists()
    assert [path.name for path in workspace.releases.iterdir()] == [manifest.id]


def test_an_unknown_release_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SluiceError, match="no such release"):
        promote(workspace, here(workspace), "r-000000000000")


def test_a_renamed_folder_is_refused(workspace: Workspace, make: Make) -> None:
    _, folder = make()
    folder.rename(workspace.releases / "r-000000000000")
    with pytest.raises(SluiceError, match="holds release r-"):
        promote(workspace, here(workspace), "r-000000000000")


@pytest.mark.parametrize("point", ["before the alias", "after the alias", "before the end"])
@pytest.mark.parametrize("back", [False, True])
def test_a_promotion_killed_at_any_point_is_completed_by_the_next_run(
    workspace: Workspace, make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch, point: str, back: bool
) -> None:
    old, new = make(adapter=None)[0], make()[0]
    promote(workspace, here(workspace), old.id)
    append = EnvironmentRecord.append
    registry.killed = {"before the alias": "before", "after the alias": "after"}.get(point, "")

    def enter(record: EnvironmentRecord, what: str, *words: str, **more: str) -> None:
        if what in ("promoted", "rolled-back"):
            raise Killed
        append(record, what, *words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(EnvironmentRecord, "append", enter)
        with pytest.raises(Killed):
            promote(workspace, here(workspace), new.id, reason="held", back=back)
    assert champion.champion_id(here(workspace)) == old.id

    assert settle(workspace, here(workspace)) == new.id
    assert champion.champion_id(here(workspace)) == registry.alias == new.id
    words = ("rolling-back", "rolled-back") if back else ("promoting", "promoted")
    assert events(workspace)[-2:] == [(word, new.id) for word in words]
    assert here(workspace).history()[-1].reason == "held"
    assert settle(workspace, here(workspace)) is None


def test_an_intent_without_its_release_is_abandoned(workspace: Workspace, make: Make, registry: Registry) -> None:
    old, (new, folder) = make(adapter=None)[0], make()
    promote(workspace, here(workspace), old.id)

    registry.killed = "after"
    with pytest.raises(Killed):
        promote(workspace, here(workspace), new.id)
    assert registry.alias == new.id
    (folder / "adapter.gguf").unlink()
    assert settle(workspace, here(workspace)) is None
    assert champion.champion_id(here(workspace)) == registry.alias == old.id
    assert events(workspace)[-1] == ("abandoned", new.id)
    assert here(workspace).pending() is None


def test_a_release_whose_promotion_began_is_not_refused(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, _ = make()
    registry.killed = "before"
    with pytest.raises(Killed):
        promote(workspace, here(workspace), manifest.id)
    with pytest.raises(SluiceError, match="its promotion has begun"):
        champion.reject(workspace, here(workspace), manifest.id, "the job failed")
    assert events(workspace) == [("promoting", manifest.id)]


def test_the_same_refusal_is_noted_once(workspace: Workspace) -> None:
    release = "r-" + 12 * "a"
    assert champion.reject(workspace, here(workspace), release, "too slow", commit="1")
    assert not champion.reject(workspace, here(workspace), release, "too slow", commit="1")
    assert champion.reject(workspace, here(workspace), release, "too wrong", commit="1")
    assert len(events(workspace)) == 2


def test_a_live_release_that_is_lost_is_an_error(workspace: Workspace) -> None:
    here(workspace).append("promoted", "r-000000000000")
    with pytest.raises(SluiceError, match="r-000000000000 is live, but cannot be read") as caught:
        champion.champion(workspace, here(workspace))
    assert "start without a champion" in caught.value.remedy


def test_a_champion_with_a_model_that_is_no_longer_served_is_an_error(workspace: Workspace, make) -> None:
    manifest, folder = make()
    promote(workspace, here(workspace), manifest.id)
    with (folder / "config" / "models.yaml").open("a") as stream:
        stream.write("  convert: bert-q8_0\n")
    with pytest.raises(SluiceError, match=rf"(?s){manifest.id} is live, .*embed.convert") as caught:
        champion.champion(workspace, here(workspace))
    assert "start without a champion" in caught.value.remedy
