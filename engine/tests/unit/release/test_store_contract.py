from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release import catalogue
from sluice.release.artifact_store import fetch_artifact
from sluice.release.catalogue import fetch, push
from sluice.release.manifest import load, verify
from unit.release.conftest import Make
from unit.release.stores import StoreUnderTest, shared

__all__ = ["shared"]


@pytest.fixture
def blob(tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(256)) * 20_000)  # more than one block of any client
    return digest_of_file(path), path


def test_a_file_comes_back_or_is_named_missing(shared: StoreUnderTest, blob: tuple[str, Path], tmp_path: Path) -> None:
    digest, path = blob
    store, other = shared.open(), shared.open()
    assert not store.has(digest)
    with pytest.raises(SluiceError, match=f"sha256/{digest}: not there"):
        store.get(digest, tmp_path / "none")
    store.put(digest, path)
    assert other.has(digest)
    assert fetch_artifact(other, digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_two_puts_at_once_leave_one_whole_file(shared: StoreUnderTest, blob: tuple[str, Path], tmp_path: Path) -> None:
    digest, path = blob
    start = Barrier(4)

    def put(_: int) -> None:
        store = shared.open()
        start.wait(60)
        store.put(digest, path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert fetch_artifact(shared.open(), digest, tmp_path / "copy")


@pytest.mark.parametrize("same", [True, False], ids=["same words", "other words"])
def test_of_writers_of_one_note_one_wins_and_the_others_are_told(shared: StoreUnderTest, same: bool) -> None:
    start = Barrier(4)

    def make(writer: int) -> tuple[bool, bytes]:
        store, words = shared.open(), b"words" if same else f"words of {writer}".encode()
        start.wait(60)
        return store.make("record/staging/000001.json", words), words

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(make, range(4)))
    (won,) = [words for made, words in done if made]
    assert shared.open().read("record/staging/000001.json") == won
    assert shared.open().notes("record/staging") == ["record/staging/000001.json"]


def test_notes_are_listed_by_folder(shared: StoreUnderTest) -> None:
    store = shared.open()
    assert (store.notes("record/production"), store.folders("record")) == ([], [])
    for name in ("record/production/000001.json", "record/releases/000001.json", "record/releases/000002.json"):
        assert store.make(name, b"exactly\nthese bytes\x00\n\n")
    assert store.notes("record/releases") == ["record/releases/000001.json", "record/releases/000002.json"]
    assert store.notes("record") == []
    assert shared.open().folders("record") == ["production", "releases"]
    assert shared.open().read("record/releases/000002.json") == b"exactly\nthese bytes\x00\n\n"
    with pytest.raises(SluiceError, match=r"record/releases/000003\.json"):
        store.read("record/releases/000003.json")


@pytest.mark.usefixtures("small_models")
def test_a_release_goes_up_once_and_comes_back_on_another_machine(
    shared: StoreUnderTest, workspace: Workspace, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = make()
    pushed = push(folder, workspace, shared.open())
    assert pushed.moved == pushed.files
    assert push(folder, workspace, shared.open()).moved == 0
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "other-cache"))
    assert fetch(pushed.digest, shared.open(), tmp_path / "release", workspace) == pushed
    verify(tmp_path / "release", load(tmp_path / "release"))


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("name", ["release.json", "prompts/answer.prompt.yml", "adapter.gguf"])
@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_an_artefact_that_is_not_what_was_pushed_is_refused_and_not_kept(
    shared: StoreUnderTest, workspace: Workspace, make: Make, tmp_path: Path, name: str, fault: str
) -> None:
    _, folder = make()
    pushed = push(folder, workspace, shared.open())
    digest = digest_of_file(folder / name)
    shared.spoil(digest, (folder / name).read_bytes() + b" " if fault == "changed" else None)
    with pytest.raises(SluiceError, match=f"{digest}.*(?:sha256 of its content|not there)"):
        fetch(pushed.digest, shared.open(), tmp_path / "release", workspace)
    assert not (tmp_path / "release" / name).exists()
    if fault == "gone":  # it is put there again, and nothing else is
        assert push(folder, workspace, shared.open()).moved == 1
        fetch(pushed.digest, shared.open(), tmp_path / "release", workspace)


@pytest.mark.usefixtures("small_models")
def test_what_is_young_or_needed_is_never_unneeded(shared: StoreUnderTest, workspace: Workspace, make: Make) -> None:
    manifest, folder = make()
    catalogue.add(shared.open(), workspace, folder, "1" * 40)
    (entry,) = catalogue.newest(shared.open())
    store, later = shared.open(), datetime.now(UTC) + timedelta(hours=1)
    assert store.unneeded((), later - timedelta(days=1)) == []
    everything = store.unneeded((), later)
    assert {manifest.id, entry.digest} & {*everything}
    assert store.unneeded({*everything}, later) == []
    for name in everything:
        store.remove(name)
        store.remove(name)  # a run that was cut off is repeated
    assert shared.open().unneeded((), later) == []
