from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import GateFailed, SluiceError
from sluice.core.workspace import Workspace
from sluice.release import champion
from sluice.release.manifest import Manifest

Make = Callable[..., tuple[Manifest, Path]]


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Registry:
    """Remembers where the alias points; `promote` is given its `move`."""

    def __init__(self) -> None:
        self.alias: str | None = None

    def move(self, _: Workspace, manifest: Manifest) -> None:
        self.alias = manifest.id


@pytest.fixture
def registry() -> Registry:
    return Registry()


def events(workspace: Workspace) -> list[tuple[str, str]]:
    return [(event.event, event.id) for event in champion.history(workspace)]


def test_there_is_no_champion_at_first(workspace: Workspace) -> None:
    assert champion.champion(workspace) is None
    assert champion.history(workspace) == []
    assert champion.reconcile(workspace) is None


def test_promote_moves_alias_and_pointer_and_notes_it(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, _ = make()
    champion.promote(workspace, manifest.id, reason="all steps held", move_alias=registry.move)
    assert champion.champion(workspace) == manifest
    assert registry.alias == manifest.id
    assert events(workspace) == [("promoting", manifest.id), ("promoted", manifest.id)]
    assert champion.history(workspace)[-1].reason == "all steps held"


def test_promoting_the_champion_again_changes_nothing(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, _ = make()
    champion.promote(workspace, manifest.id, move_alias=registry.move)
    champion.promote(workspace, manifest.id, move_alias=registry.move)
    assert len(events(workspace)) == 2


def test_an_older_release_can_be_promoted_again(workspace: Workspace, make: Make, registry: Registry) -> None:
    old, new = make(adapter=None)[0], make()[0]
    for release in (old, new, old):
        champion.promote(workspace, release.id, move_alias=registry.move)
    assert champion.champion_id(workspace) == registry.alias == old.id


def test_a_damaged_release_is_refused_before_anything_moves(
    workspace: Workspace, make: Make, registry: Registry
) -> None:
    manifest, folder = make()
    (folder / "adapter.gguf").write_bytes(b"other")
    with pytest.raises(SluiceError, match=r"adapter\.gguf"):
        champion.promote(workspace, manifest.id, move_alias=registry.move)
    assert (champion.champion_id(workspace), registry.alias, events(workspace)) == (None, None, [])


def test_a_release_that_a_gate_refused_is_never_promoted(workspace: Workspace, make: Make, registry: Registry) -> None:
    failed = make()[0].gates[0].model_copy(update={"passed": False})
    manifest, _ = make(verdicts=[failed])
    with pytest.raises(GateFailed, match="was refused by f1_holds"):
        champion.promote(workspace, manifest.id, move_alias=registry.move)
    assert (champion.champion_id(workspace), registry.alias, events(workspace)) == (None, None, [])


def test_an_unknown_release_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SluiceError, match="no such release"):
        champion.promote(workspace, "r-000000000000", move_alias=lambda *_: None)


def test_a_renamed_folder_is_refused(workspace: Workspace, make: Make) -> None:
    _, folder = make()
    folder.rename(workspace.releases / "r-000000000000")
    with pytest.raises(SluiceError, match="holds release r-"):
        champion.promote(workspace, "r-000000000000", move_alias=lambda *_: None)


@pytest.mark.parametrize("point", ["before the alias", "after the alias", "before the pointer", "after the pointer"])
def test_a_promotion_killed_at_any_point_is_completed_by_the_next_run(
    workspace: Workspace, make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    old, new = make(adapter=None)[0], make()[0]
    champion.promote(workspace, old.id, move_alias=registry.move)
    write = champion.write_atomic

    def move(place: Workspace, manifest: Manifest) -> None:
        if point == "before the alias":
            raise Killed
        registry.move(place, manifest)
        if point == "after the alias":
            raise Killed

    def point_to(path: Path, content: str) -> None:
        if point == "before the pointer":
            raise Killed
        write(path, content)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(champion, "write_atomic", point_to)
        with pytest.raises(Killed):
            champion.promote(workspace, new.id, reason="held", move_alias=move)
    assert champion.champion_id(workspace) == (new.id if point == "after the pointer" else old.id)

    assert champion.reconcile(workspace, move_alias=registry.move) == new.id
    assert champion.champion_id(workspace) == registry.alias == new.id
    assert events(workspace)[-2:] == [("promoting", new.id), ("promoted", new.id)]
    assert champion.history(workspace)[-1].reason == "held"
    assert champion.reconcile(workspace, move_alias=registry.move) is None


def test_a_promotion_killed_before_its_intent_leaves_the_champion(
    workspace: Workspace, make: Make, registry: Registry
) -> None:
    """The intent is one appended line: a torn one is no intent, and the next append removes it."""
    old, new = make(adapter=None)[0], make()[0]
    champion.promote(workspace, old.id, move_alias=registry.move)
    with (workspace.releases / "journal.jsonl").open("a") as stream:
        stream.write('{"event": "promoting", "id": "' + new.id)
    assert champion.reconcile(workspace, move_alias=registry.move) is None
    assert champion.champion_id(workspace) == old.id
    champion.reject(workspace, new.id, "stopped")
    assert events(workspace) == [("promoting", old.id), ("promoted", old.id), ("rejected", new.id)]


def test_an_intent_whose_release_is_gone_is_abandoned_and_the_alias_goes_back(
    workspace: Workspace, make: Make, registry: Registry
) -> None:
    old, (new, folder) = make(adapter=None)[0], make()
    champion.promote(workspace, old.id, move_alias=registry.move)

    def move(place: Workspace, manifest: Manifest) -> None:
        registry.move(place, manifest)
        raise Killed

    with pytest.raises(Killed):
        champion.promote(workspace, new.id, move_alias=move)
    assert registry.alias == new.id
    (folder / "adapter.gguf").unlink()
    assert champion.reconcile(workspace, move_alias=registry.move) is None
    assert champion.champion_id(workspace) == registry.alias == old.id
    assert events(workspace)[-1] == ("abandoned", new.id)
    assert champion.pending(workspace) is None


def test_a_rejection_does_not_hide_a_pending_promotion(workspace: Workspace, make: Make, registry: Registry) -> None:
    manifest, _ = make()

    def killed(*_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        champion.promote(workspace, manifest.id, move_alias=killed)
    champion.reject(workspace, "r-" + 12 * "a", "gate f1_holds")
    assert champion.reconcile(workspace, move_alias=registry.move) == manifest.id


def test_a_pointer_to_a_lost_release_is_an_error(workspace: Workspace) -> None:
    workspace.releases.mkdir(parents=True)
    (workspace.releases / "CHAMPION").write_text("r-000000000000\n")
    with pytest.raises(SluiceError, match="points to r-000000000000, which cannot be read") as caught:
        champion.champion(workspace)
    assert "delete the pointer" in caught.value.remedy


def test_a_champion_with_a_model_that_is_no_longer_served_is_an_error(workspace: Workspace, make) -> None:
    manifest, folder = make()
    champion.promote(workspace, manifest.id)
    with (folder / "config" / "models.yaml").open("a") as stream:
        stream.write("  convert: bert-q8_0\n")
    with pytest.raises(SluiceError, match=rf"(?s)points to {manifest.id}, .* bert-q8_0 is no longer served") as caught:
        champion.champion(workspace)
    assert "delete the pointer" in caught.value.remedy


def test_a_broken_line_in_the_journal_is_named(workspace: Workspace) -> None:
    champion.reject(workspace, "r-" + 12 * "a", "x")
    with (workspace.releases / "journal.jsonl").open("a") as stream:
        stream.write("nonsense\n")
    with pytest.raises(SluiceError, match=r"journal\.jsonl:2: not an event"):
        champion.history(workspace)


def test_a_full_disk_leaves_journal_and_champion_as_they_were(
    workspace: Workspace, make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make(adapter=None)[0], make()[0]
    champion.promote(workspace, old.id, move_alias=registry.move)
    before = (workspace.releases / "journal.jsonl").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SluiceError, match="no space left"):
            champion.promote(workspace, new.id, move_alias=registry.move)
    assert (workspace.releases / "journal.jsonl").read_bytes() == before
    assert champion.champion_id(workspace) == registry.alias == old.id


def test_a_full_disk_at_the_pointer_is_mended_by_the_next_run(
    workspace: Workspace, make: Make, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make(adapter=None)[0], make()[0]
    champion.promote(workspace, old.id, move_alias=registry.move)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(SluiceError, match="no space left"):
            champion.promote(workspace, new.id, move_alias=registry.move)
    assert champion.champion_id(workspace) == old.id
    assert champion.reconcile(workspace, move_alias=registry.move) == new.id
    assert champion.champion_id(workspace) == new.id
