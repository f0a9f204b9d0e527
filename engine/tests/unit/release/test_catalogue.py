"""A release goes into each kind of artifact store with the record of its making, and another machine brings it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release import artifact_store, catalogue
from sluice.release.artifact_store import ArtifactStore
from sluice.release.manifest import Manifest, load, verify
from unit.release.stores import StoreUnderTest, shared

__all__ = ["shared"]

Make = Callable[..., tuple[Manifest, Path]]
COMMIT = "1" * 40


@pytest.fixture
def store(shared: StoreUnderTest) -> ArtifactStore:
    return shared.open()


@pytest.fixture
def elsewhere(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Workspace]:
    """Takes what this machine has away: a fresh machine, which has only the place."""

    def move() -> Workspace:
        shutil.rmtree(workspace.state)
        monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "other-cache"))
        return workspace

    return move


@pytest.mark.usefixtures("small_models")
def test_another_machine_brings_all_that_the_next_release_is_judged_against(
    workspace: Workspace, make: Make, store: ArtifactStore, elsewhere: Callable[[], Workspace]
) -> None:
    manifest, folder = make()
    summary = read_json(folder / "evaluation" / "summary.json")
    catalogue.add(store, workspace, folder, COMMIT)
    entry = catalogue.find(store, manifest.id)
    assert (entry.id, entry.commit) == (manifest.id, COMMIT)
    found, there = catalogue.bring_release(store, elsewhere(), manifest.id)
    assert (found, there.name) == (manifest, manifest.id)
    verify(there, load(there))
    assert read_json(there / "evaluation" / "summary.json") == summary
    assert (there / "evaluation" / "cases.jsonl").is_file()
    assert (there / "training.json").is_file()


@pytest.mark.usefixtures("small_models")
def test_what_is_here_and_whole_is_not_brought_and_what_is_damaged_is_named(
    workspace: Workspace, make: Make, store: ArtifactStore
) -> None:
    manifest, folder = make()
    assert catalogue.bring_release(store, workspace, manifest.id) == (manifest, folder)
    (folder / "adapter.gguf").write_bytes(b"other")
    with pytest.raises(SluiceError, match=r"adapter\.gguf"):
        catalogue.bring_release(store, workspace, manifest.id)


@pytest.mark.usefixtures("small_models")
def test_a_bringing_that_was_cut_off_goes_on(
    workspace: Workspace,
    make: Make,
    store: ArtifactStore,
    elsewhere: Callable[[], Workspace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest, folder = make()
    catalogue.add(store, workspace, folder, COMMIT)
    there = elsewhere()
    calls: list[str] = []

    def cut_off(one: ArtifactStore, digest: str, target: Path) -> bool:
        calls.append(digest)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return artifact_store.fetch_artifact(one, digest, target)

    with monkeypatch.context() as patch:
        patch.setattr("sluice.release.transfer.fetch_artifact", cut_off)
        with pytest.raises(KeyboardInterrupt):
            catalogue.bring_release(store, there, manifest.id)
    assert not (there.releases / manifest.id).exists()
    assert catalogue.bring_release(store, there, manifest.id)[0] == manifest
    assert [path.name for path in there.releases.iterdir()] == [manifest.id]


@pytest.mark.usefixtures("small_models")
def test_a_release_is_found_by_its_commit_and_the_baseline_by_itself(
    workspace: Workspace, make: Make, store: ArtifactStore
) -> None:
    baseline, folder = make(adapter=None, verdicts=[])
    catalogue.add(store, workspace, folder, COMMIT, baseline=True)
    assert catalogue.made_for(store, COMMIT) is None
    candidate, folder = make(parent=baseline.id)
    catalogue.add(store, workspace, folder, COMMIT)
    made, first = catalogue.made_for(store, COMMIT), catalogue.baseline(store)
    assert made is not None
    assert first is not None
    assert (made.id, first.id) == (candidate.id, baseline.id)


def test_an_unknown_release_is_named(workspace: Workspace, store: ArtifactStore) -> None:
    with pytest.raises(SluiceError, match="no release r-000000000000"):
        catalogue.bring_release(store, workspace, "r-000000000000")


def test_an_entry_that_leads_out_of_the_folder_is_refused(workspace: Workspace, store: ArtifactStore) -> None:
    entry = (
        b'{"id": "r-000000000000", "digest": "' + b"a" * 64 + b'", "commit": "x", "time": "x", '
        b'"making": {"../../outside": "' + b"b" * 64 + b'"}}'
    )
    store.make("record/releases/000001.json", entry)
    with pytest.raises(SluiceError, match="not an entry of the record"):
        catalogue.bring_release(store, workspace, "r-000000000000")
