import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release import artifact_store, catalogue
from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from sluice.release.catalogue import TransferResult, fetch, fetch_folders, push
from sluice.release.manifest import load, verify
from support.local_server import served_folder
from unit.release.conftest import Make

COMMIT = "1" * 40


@pytest.fixture
def store(place: Path) -> ArtifactStore:
    return open_artifact_store(str(place))


@pytest.fixture
def elsewhere(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Workspace]:
    """A fresh machine, which has only the store."""

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
        patch.setattr("sluice.release.catalogue.fetch_artifact", cut_off)
        with pytest.raises(KeyboardInterrupt):
            catalogue.bring_release(store, there, manifest.id)
    assert not (there.releases / manifest.id).exists()
    assert catalogue.bring_release(store, there, manifest.id)[0] == manifest
    assert [path.name for path in there.releases.iterdir()] == [manifest.id]


@pytest.mark.usefixtures("small_models")
def test_a_release_is_found_by_its_commit_or_as_baseline(
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


@pytest.fixture
def release(small_models: None, make: Make) -> Path:  # noqa: ARG001
    return make()[1]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def pod(tmp_path: Path, workspace: Workspace) -> Workspace:
    """Another machine; the sources of the models cannot be reached from it."""

    class Pod(Workspace):
        @property
        def cache(self) -> Path:
            return tmp_path / "pod" / "models"

    return Pod(workspace.root)


@pytest.fixture
def pushed(release: Path, workspace: Workspace, store: ArtifactStore) -> TransferResult:
    return push(release, workspace, store)


def stored(place: Path) -> set[str]:
    return {path.name for path in (place / "sha256").iterdir()}


def test_a_pushed_release_is_complete(release: Path, workspace: Workspace, place: Path, pushed: TransferResult) -> None:
    models = {digest_of_file(path) for path in (workspace.cache / "models").glob("*/*")}
    assert len(models) == 3
    assert pushed.digest == digest_of_file(release / "release.json")
    assert stored(place) == {*pushed.manifest.files.values(), *models, pushed.digest}
    assert pushed.files == pushed.moved == len(stored(place))


def test_a_release_is_fetched_by_its_manifest(
    release: Path, pushed: TransferResult, place: Path, store: ArtifactStore, pod: Workspace, tmp_path: Path
) -> None:
    (place / "sha256" / pushed.digest).unlink()  # the pod has it from elsewhere
    fetch(str(release / "release.json"), store, tmp_path / "release", pod)
    assert digest_of_file(tmp_path / "release" / "release.json") == pushed.digest


def test_a_second_fetch_mends(pushed: TransferResult, store: ArtifactStore, pod: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    fetch(pushed.digest, store, folder, pod)
    assert fetch(pushed.digest, store, folder, pod).moved == 0
    (folder / "index" / "chunks.jsonl").write_text("changed")
    (folder / "prompts" / "of-another-release.prompt.yml").write_text("name: other")
    assert fetch(pushed.digest, store, folder, pod).moved == 1
    verify(folder, load(folder))


def test_who_judges_gets_what_the_release_is_judged_by_and_no_model(
    workspace: Workspace, pushed: TransferResult, store: ArtifactStore, pod: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "release"
    moved = fetch_folders(pushed.digest, store, folder, ["judging", "config"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    config = {name for name in pushed.manifest.files if name.startswith("config/")}
    assert there == {"release.json", "judging/gates.yaml", "judging/eval.jsonl", *config}
    assert moved.files == moved.moved == len(there)
    assert (folder / "judging" / "gates.yaml").read_bytes() == (workspace.config / "gates.yaml").read_bytes()
    assert not pod.cache.exists()
    assert fetch_folders(pushed.digest, store, folder, ["judging"]).moved == 0


def test_a_release_without_what_is_asked_is_named(pushed: TransferResult, store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=f"{pushed.manifest.id}: has no files in judgement") as caught:
        fetch_folders(pushed.digest, store, tmp_path / "release", ["judgement", "config"])
    assert "judging" in str(caught.value.remedy)


@pytest.mark.parametrize("wanted", ["r-0123456789ab", "sha256:abc", "/nowhere/release.json"])
def test_what_names_no_manifest_is_refused(store: ArtifactStore, pod: Workspace, tmp_path: Path, wanted: str) -> None:
    with pytest.raises(SluiceError, match="neither a release"):
        fetch(wanted, store, tmp_path / "release", pod)


@pytest.mark.usefixtures("loopback")
def test_a_web_server_is_a_place_to_fetch_from(
    release: Path, workspace: Workspace, place: Path, store: ArtifactStore, pod: Workspace, tmp_path: Path
) -> None:
    pushed = push(release, workspace, store)
    with served_folder(place) as site:
        assert fetch(pushed.digest, open_artifact_store(site), tmp_path / "release", pod) == pushed
        (place / "sha256" / pushed.digest).unlink()
        with pytest.raises(SluiceError, match="not there"):
            fetch(pushed.digest, open_artifact_store(site), tmp_path / "other", pod)
        with pytest.raises(SluiceError, match="a web address can only be read from"):
            push(release, workspace, open_artifact_store(site))


def test_addresses_of_places(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for place in ("s3://bucket/sluice", "gs://bucket/sluice", "az://container/sluice", "https://host/x"):
        assert str(open_artifact_store(place)) == place
    for place in ("ftp://host/x", "s3://", "https://"):
        with pytest.raises(SluiceError, match="not an artifact store"):
            open_artifact_store(place)


def test_a_full_disk_is_told(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:  # what obstore 0.12.1 raised on a full tmpfs
        raise GenericError("Generic LocalFileSystem error: Unable to copy data to file: No space left on device")

    monkeypatch.setattr(obstore, "put", full)
    with pytest.raises(SluiceError, match=r"record/here/000001\.json: no space left on the disk"):
        store.make("record/here/000001.json", b"{}")
