"""A release goes to a place and comes back whole; what is damaged on the way is never kept."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import Manifest, load, verify
from sluice.release.transfer import fetch, fetch_folders, push
from unit.release.buckets import bucket_server

Make = Callable[..., tuple[Manifest, Path]]


@pytest.fixture
def release(small_models: None, make: Make) -> Path:  # noqa: ARG001
    return make()[1]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def pod(tmp_path: Path, workspace: Workspace) -> Workspace:
    """Another machine; the sources of the models cannot be reached from it."""

    class Pod(Workspace):
        @property
        def cache(self) -> Path:
            return tmp_path / "pod" / "models"

    return Pod(workspace.root)


def stored(store: Path) -> set[str]:
    return {path.name for path in (store / "sha256").iterdir()}


def test_a_pushed_release_is_its_files_its_models_and_its_manifest(
    release: Path, workspace: Workspace, store: Path
) -> None:
    moved = push(release, workspace, open_artifact_store(str(store)))
    manifest = load(release)
    models = {digest_of_file(path) for path in (workspace.cache / "models").glob("*/*")}
    assert len(models) == 3
    assert moved.digest == digest_of_file(release / "release.json")
    assert stored(store) == {*manifest.files.values(), *models, moved.digest}
    assert moved.files == moved.moved == len(stored(store))


def test_what_is_there_is_not_pushed_again(release: Path, workspace: Workspace, store: Path) -> None:
    push(release, workspace, open_artifact_store(str(store)))
    assert push(release, workspace, open_artifact_store(str(store))).moved == 0


@pytest.mark.parametrize("prefix", ["sha256:", ""])
def test_a_release_is_fetched_by_the_digest_of_its_manifest(
    release: Path, workspace: Workspace, store: Path, pod: Workspace, tmp_path: Path, prefix: str
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    for source in (*tmp_path.glob("*.gguf"), tmp_path / "vocab.txt"):
        source.unlink()
    moved = fetch(prefix + pushed.digest, open_artifact_store(str(store)), tmp_path / "release", pod)
    verify(tmp_path / "release", load(tmp_path / "release"))
    assert moved == pushed
    assert {path.name for path in (pod.cache / "models").glob("*/*")} == {"chat.gguf", "embed.gguf", "vocab.txt"}


def test_a_release_is_fetched_by_its_manifest(
    release: Path, workspace: Workspace, store: Path, pod: Workspace, tmp_path: Path
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    (store / "sha256" / pushed.digest).unlink()  # the pod has it from elsewhere
    fetch(str(release / "release.json"), open_artifact_store(str(store)), tmp_path / "release", pod)
    assert digest_of_file(tmp_path / "release" / "release.json") == pushed.digest


def test_a_second_fetch_moves_nothing_and_mends_what_was_changed(
    release: Path, workspace: Workspace, store: Path, pod: Workspace, tmp_path: Path
) -> None:
    digest = push(release, workspace, open_artifact_store(str(store))).digest
    folder = tmp_path / "release"
    fetch(digest, open_artifact_store(str(store)), folder, pod)
    assert fetch(digest, open_artifact_store(str(store)), folder, pod).moved == 0
    (folder / "index" / "chunks.jsonl").write_text("changed")
    (folder / "prompts" / "of-another-release.prompt.yml").write_text("name: other")
    assert fetch(digest, open_artifact_store(str(store)), folder, pod).moved == 1
    verify(folder, load(folder))


def test_who_judges_gets_what_the_release_is_judged_by_and_no_model(
    release: Path, workspace: Workspace, store: Path, pod: Workspace, tmp_path: Path
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    folder = tmp_path / "release"
    moved = fetch_folders(pushed.digest, open_artifact_store(str(store)), folder, ["judging", "config"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    config = {name for name in load(release).files if name.startswith("config/")}
    assert there == {"release.json", "judging/gates.yaml", "judging/eval.jsonl", *config}
    assert moved.files == moved.moved == len(there)
    assert (folder / "judging" / "gates.yaml").read_bytes() == (workspace.config / "gates.yaml").read_bytes()
    assert not pod.cache.exists()
    assert fetch_folders(pushed.digest, open_artifact_store(str(store)), folder, ["judging"]).moved == 0


def test_what_another_release_was_judged_by_goes_away(
    release: Path, workspace: Workspace, make: Make, store: Path, tmp_path: Path
) -> None:
    older = push(release, workspace, open_artifact_store(str(store)))
    (workspace.config / "gates.yaml").write_text("gates: stricter\n")
    newer = push(make()[1], workspace, open_artifact_store(str(store)))
    assert newer.digest != older.digest
    for pushed, said in ((newer, "gates: stricter\n"), (older, "not: pinned\n")):
        fetch_folders(pushed.digest, open_artifact_store(str(store)), tmp_path / "release", ["judging"])
        assert (tmp_path / "release" / "judging" / "gates.yaml").read_text() == said


def test_a_release_without_what_is_asked_for_is_named(
    release: Path, workspace: Workspace, store: Path, tmp_path: Path
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    with pytest.raises(SluiceError, match=f"{pushed.manifest.id}: has no files in judgement") as caught:
        fetch_folders(pushed.digest, open_artifact_store(str(store)), tmp_path / "release", ["judgement", "config"])
    assert "judging" in str(caught.value.remedy)


@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_gates_that_are_not_those_of_the_release_are_refused(
    release: Path, workspace: Workspace, store: Path, tmp_path: Path, fault: str
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    digest = pushed.manifest.files["judging/gates.yaml"]
    blob = store / "sha256" / digest
    blob.write_text("gates: []") if fault == "changed" else blob.unlink()
    with pytest.raises(SluiceError, match=f"{digest}.*(?:sha256 of its content|not there)"):
        fetch_folders(pushed.digest, open_artifact_store(str(store)), tmp_path / "release", ["judging"])
    assert not (tmp_path / "release" / "judging" / "gates.yaml").exists()


def kinds(release: Path, cache: Path) -> dict[str, str]:
    manifest = load(release)
    return {
        "manifest": digest_of_file(release / "release.json"),
        "prompt": manifest.files["prompts/answer.prompt.yml"],
        "index": manifest.files["index/vectors.npy"],
        "adapter": manifest.files["adapter.gguf"],
        "model": manifest.models["chat"].sha256,
        "vocabulary": digest_of_file(next(cache.glob("models/*/vocab.txt"))),
    }


@pytest.mark.parametrize("kind", ["manifest", "prompt", "index", "adapter", "model", "vocabulary"])
@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_an_artefact_that_is_not_what_was_pushed_is_refused(
    release: Path, workspace: Workspace, store: Path, pod: Workspace, tmp_path: Path, kind: str, fault: str
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    digest = kinds(release, workspace.cache)[kind]
    blob = store / "sha256" / digest
    if fault == "changed":
        blob.write_bytes(blob.read_bytes() + b" ")
    else:
        blob.unlink()
    with pytest.raises(SluiceError, match=f"{digest}.*(?:sha256 of its content|not there)"):
        fetch(pushed.digest, open_artifact_store(str(store)), tmp_path / "release", pod)
    kept = [path for path in (tmp_path / "release").rglob("*") if path.is_file()]
    kept += [path for path in pod.cache.rglob("*") if path.is_file()]
    assert digest not in {digest_of_file(path) for path in kept}
    assert {digest_of_file(path) for path in kept} <= stored(store) | {digest}
    assert not [path for path in kept if path.name.startswith(".")]


@pytest.mark.parametrize("wanted", ["r-0123456789ab", "sha256:abc", "/nowhere/release.json"])
def test_what_names_no_manifest_is_refused(store: Path, pod: Workspace, tmp_path: Path, wanted: str) -> None:
    with pytest.raises(SluiceError, match="neither a release"):
        fetch(wanted, open_artifact_store(str(store)), tmp_path / "release", pod)


def test_an_artefact_that_cannot_be_read_is_named(
    release: Path, workspace: Workspace, pod: Workspace, store: Path, tmp_path: Path
) -> None:
    moved = push(release, workspace, open_artifact_store(str(store)))
    artefact = next(path for path in (store / "sha256").iterdir() if path.name != moved.digest)
    artefact.unlink()
    artefact.mkdir()
    with pytest.raises(SluiceError, match=rf"{artefact}: not there"):
        fetch(f"sha256:{moved.digest}", open_artifact_store(str(store)), tmp_path / "release", pod)


@pytest.fixture
def site(store: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(store)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.mark.usefixtures("loopback")
def test_a_web_server_is_a_place_to_fetch_from(
    release: Path, workspace: Workspace, store: Path, pod: Workspace, tmp_path: Path, site: str
) -> None:
    pushed = push(release, workspace, open_artifact_store(str(store)))
    assert fetch(pushed.digest, open_artifact_store(site), tmp_path / "release", pod) == pushed
    (store / "sha256" / pushed.digest).unlink()
    with pytest.raises(SluiceError, match="not there"):
        fetch(pushed.digest, open_artifact_store(site), tmp_path / "other", pod)
    with pytest.raises(SluiceError, match="a web address can only be read from"):
        push(release, workspace, open_artifact_store(site))


@pytest.fixture
def bucket(loopback: None) -> Iterator[str]:  # noqa: ARG001
    with bucket_server() as name:
        yield name


def test_a_bucket_is_a_place(release: Path, workspace: Workspace, pod: Workspace, tmp_path: Path, bucket: str) -> None:
    pushed = push(release, workspace, open_artifact_store(bucket))
    assert pushed.moved == pushed.files
    assert push(release, workspace, open_artifact_store(bucket)).moved == 0
    assert fetch(pushed.digest, open_artifact_store(bucket), tmp_path / "release", pod) == pushed
    with pytest.raises(SluiceError, match=r"s3://artefacts/other/sha256/.*not there"):
        fetch(pushed.digest, open_artifact_store("s3://artefacts/other"), tmp_path / "other", pod)
    with pytest.raises(SluiceError, match="s3://missing/sha256/"):
        push(release, workspace, open_artifact_store("s3://missing"))


@pytest.mark.parametrize(
    "store", ["s3://bucket/sluice", "gs://bucket/sluice", "az://container/sluice", "https://host/x"]
)
def test_addresses_of_places(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    assert str(open_artifact_store(store)) == store


def test_an_account_that_is_not_named_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SluiceError, match=r"az://container: .*Account"):
        open_artifact_store("az://container")


def test_a_profile_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(SluiceError, match=r"AWS credentials: .*nowhere"):
        open_artifact_store("s3://bucket")


def test_a_look_at_a_folder_does_not_make_it(store: Path) -> None:
    assert open_artifact_store(str(store)).notes("record/here") == []
    assert not store.exists()


@pytest.mark.parametrize("store", ["ftp://host/x", "s3://", "https://"])
def test_other_addresses_are_no_places(store: str) -> None:
    with pytest.raises(SluiceError, match="not an artifact store"):
        open_artifact_store(store)
