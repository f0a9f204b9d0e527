"""Publishing data: what data.dvc names after a push a fresh clone can pull, whatever happened before or during it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.privacy import DataPolicy
from sluice.data.publish import Publication, push, verify, version_here
from unit.data.conftest import commit, make_checkout, pull_into_clone

POLICY = DataPolicy()


def stored(checkout: Workspace) -> list[Path]:
    """The objects of the remote."""
    return sorted(path for path in (checkout.root.parent / "store").rglob("*") if path.is_file())


def object_of(checkout: Workspace, content: bytes) -> Path:
    (found,) = (path for path in stored(checkout) if path.read_bytes() == content)
    return found


def test_what_is_published_a_fresh_clone_can_pull(checkout: Workspace) -> None:
    done = push(checkout, POLICY)
    assert done == Publication("remote 'store'", version_here(checkout), 6, 6)
    commit(checkout.root)
    assert data_digest(pull_into_clone(checkout)) == data_digest(checkout.data)
    assert push(checkout, POLICY).sent == 0
    assert verify(checkout) == Publication("remote 'store'", done.version, 6, 0)


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:10])


def empty(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "words"), [(Path.unlink, "is not in"), (cut, "holds other bytes in"), (empty, "holds other bytes in")]
)
def test_an_object_that_was_lost_is_told_by_file_and_mended_by_the_next_push(
    checkout: Workspace, harm: Callable[[Path], None], words: str
) -> None:
    push(checkout, POLICY)
    content = (checkout.data / "corpus" / "piers.md").read_bytes()
    harm(object_of(checkout, content))
    with pytest.raises(ValidationErrors) as raised:
        verify(checkout)
    (fault,) = raised.value.faults
    assert fault.startswith("data/corpus/piers.md: object ")
    assert f" {words}" in fault
    assert push(checkout, POLICY).sent == 1
    assert verify(checkout).objects == 6


def test_dvc_itself_believes_what_is_not_so(checkout: Workspace) -> None:
    """Why a push of our own: the day this fails, `dvc push` can be trusted and ours can go."""
    from dvc.repo import Repo

    push(checkout, POLICY)
    with chdir(checkout.root), Repo() as repo:
        repo.push(["data.dvc"])  # dvc takes note of what the remote holds
        object_of(checkout, (checkout.data / "corpus" / "piers.md").read_bytes()).unlink()
        assert repo.push(["data.dvc"]) == 0
    with pytest.raises(ValidationErrors):
        verify(checkout)


def test_data_that_breaks_its_contract_is_not_published(checkout: Workspace) -> None:
    push(checkout, POLICY)
    pointer = (checkout.root / "data.dvc").read_bytes()
    before = stored(checkout)
    path = checkout.data / "corpus" / "tides.md"
    path.write_text(path.read_text() + "Ask first.last@" + "company.org.\n")
    with pytest.raises(ValidationErrors, match=r"tides\.md:9: personal data: e-mail address"):
        push(checkout, POLICY)
    assert (checkout.root / "data.dvc").read_bytes() == pointer
    assert stored(checkout) == before


def test_a_remote_that_takes_nothing_leaves_data_dvc_as_it_was(
    checkout: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(checkout, POLICY)
    pointer = (checkout.root / "data.dvc").read_bytes()
    path = checkout.data / "corpus" / "tides.md"
    path.write_text(path.read_text() + "Neap tides are small.\n")
    monkeypatch.setattr("sluice.data.publish.ObjectStore.copy_from", lambda *_: None)  # says yes and does nothing
    with pytest.raises(ValidationErrors, match="cannot store the data") as raised:
        push(checkout, POLICY)
    assert raised.value.faults[0].startswith("data/corpus/tides.md: object ")
    assert (checkout.root / "data.dvc").read_bytes() == pointer


def test_a_remote_that_is_not_there_is_told(checkout: Workspace) -> None:
    with pytest.raises(SluiceError, match="elsewhere"):
        push(checkout, POLICY, "elsewhere")
    (checkout.root / "data.dvc").write_text("outs: []\n")
    with pytest.raises(SluiceError, match="has no md5"):
        verify(checkout)
    (checkout.root / "data.dvc").unlink()
    with pytest.raises(SluiceError, match=r"data\.dvc: no such file"):
        verify(checkout)


# -- in S3


def test_a_bucket_is_published_to_proven_and_pulled_from(checkout: Workspace, bucket: str) -> None:
    import boto3

    make_checkout(checkout.root, f"{bucket}/dvc", cache=checkout.root.parent / "site")
    done = push(checkout, POLICY)
    assert (done.objects, done.sent) == (6, 6)
    commit(checkout.root)
    assert data_digest(pull_into_clone(checkout)) == data_digest(checkout.data)
    client = boto3.client("s3")
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="artefacts", Prefix="sluice/dvc/")["Contents"]]
    first, second, *_ = (key for key in keys if not key.endswith(".dir"))
    client.delete_object(Bucket="artefacts", Key=first)
    client.put_object(Bucket="artefacts", Key=second, Body=b"other")
    with pytest.raises(ValidationErrors) as raised:
        verify(checkout)
    assert len(raised.value.faults) == 2
    assert push(checkout, POLICY).sent == 2
    assert verify(checkout).objects == 6


KILLS = 8


class Fuse:
    """Kills this process at the n-th thing that happens to what is pushed."""

    def __init__(self, at: int | None) -> None:
        self.at, self.seen = at, 0

    def burn(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def at_copies(fuse: Fuse) -> None:
    """Of a file, in dvc's cache and in a remote that is a folder: before, in the middle of it, after."""
    from dvc_objects.fs import local

    copied = local.copyfile

    def copyfile(source: str, target: str, *more: Any, **named: Any) -> Any:
        fuse.burn()
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        fuse.burn()
        result = copied(source, target, *more, **named)
        fuse.burn()
        return result

    local.copyfile = copyfile


def push_until(checkout: Workspace, at: int | None, arm: Callable[[Fuse], None]) -> int:
    """A push in a process of its own, killed at the n-th event; the number of events when it is not."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            fuse = Fuse(at)
            arm(fuse)
            push(checkout, POLICY)
            os.write(writer, str(fuse.seen).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    _, ended = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as told:
        said = told.read()
    if at is None:
        assert ended == 0
        return int(said)
    assert os.WIFSIGNALED(ended), "the push ended before its fuse"
    assert os.WTERMSIG(ended) == signal.SIGKILL
    return at


def points_of(events: int, kills: int) -> list[int]:
    """So many, from the first event to the last."""
    points = sorted({1 + round(n * (events - 1) / (kills - 1)) for n in range(kills)})
    assert len(points) == kills
    return points


def forget(checkout: Workspace) -> None:
    """All that a push leaves on this machine."""
    for path in (checkout.root / ".dvc" / "cache", checkout.root.parent / "site"):
        shutil.rmtree(path, ignore_errors=True)
    (checkout.root / "data.dvc").unlink(missing_ok=True)


def damaged(objects: dict[str, bytes]) -> list[str]:
    """Objects that hold other bytes than their name says."""
    return [
        name
        for name, content in objects.items()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != name.removesuffix(".dir")
    ]


@pytest.fixture
def filled(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With enough files for these points."""
    monkeypatch.setattr("sluice.data.publish.check_or_raise", lambda *_, **__: None)  # writes nothing, takes its time
    for n in range(6):
        (checkout.data / f"note{n}.txt").write_text(f"{n}" * 100)
    return checkout


def test_into_a_folder(filled: Workspace) -> None:
    store = filled.root.parent / "store"

    def objects() -> dict[str, bytes]:
        """What was never given a name is none."""
        files = (path for path in store.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.parent.name + path.name: path.read_bytes() for path in files}

    events = push_until(filled, None, at_copies)
    whole = objects()
    assert len(whole) == 12
    for point in points_of(events, KILLS):
        forget(filled)
        shutil.rmtree(store)
        push_until(filled, point, at_copies)
        assert push(filled, POLICY).objects == 12, point
        assert objects() == whole, point
        assert damaged(whole) == []
    verify(filled)
    shutil.rmtree(filled.root / ".dvc" / "cache")
    commit(filled.root)
    pulled = pull_into_clone(filled)
    assert data_digest(pulled) == data_digest(filled.data)
