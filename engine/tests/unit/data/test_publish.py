import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.privacy import DataPolicy
from sluice.data.publish import Publication, push, verify, version_here
from support.git import commit_all
from unit.data.conftest import make_checkout, pull_into_clone

POLICY = DataPolicy()


def stored(checkout: Workspace) -> list[Path]:
    return sorted(path for path in (checkout.root.parent / "store").rglob("*") if path.is_file())


def object_of(checkout: Workspace, content: bytes) -> Path:
    (found,) = (path for path in stored(checkout) if path.read_bytes() == content)
    return found


def test_what_is_published_a_fresh_clone_can_pull(checkout: Workspace) -> None:
    done = push(checkout, POLICY)
    assert done == Publication("remote 'store'", version_here(checkout), 6, 6)
    commit_all(checkout.root)
    assert data_digest(pull_into_clone(checkout)) == data_digest(checkout.data)
    assert push(checkout, POLICY).sent == 0
    assert verify(checkout) == Publication("remote 'store'", done.version, 6, 0)


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:10])


@pytest.mark.parametrize(("harm", "words"), [(Path.unlink, "is not in"), (cut, "holds other bytes in")])
def test_a_lost_object_is_told_and_mended(checkout: Workspace, harm: Callable[[Path], None], words: str) -> None:
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


def test_a_remote_that_takes_nothing_changes_no_data_dvc(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_bucket_is_published_to_proven_and_pulled_from(checkout: Workspace, bucket: str) -> None:
    import boto3

    make_checkout(checkout.root, f"{bucket}/dvc", cache=checkout.root.parent / "site")
    done = push(checkout, POLICY)
    assert (done.objects, done.sent) == (6, 6)
    commit_all(checkout.root)
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


KILLS = 5


def die_at(event: int) -> list[int]:
    """Kill this process at the n-th event (before, in the middle of or after a copy); return the counter of events."""
    from dvc_objects.fs import local

    copied, seen = local.copyfile, [0]

    def step() -> None:
        seen[0] += 1
        if seen[0] == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def copyfile(source: str, target: str, *more: Any, **named: Any) -> Any:
        step()
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        step()
        result = copied(source, target, *more, **named)
        step()
        return result

    local.copyfile = copyfile
    return seen


def push_until(checkout: Workspace, event: int) -> int:
    """Push in a process of its own, killed at the n-th event; return the number of events if it wasn't."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            seen = die_at(event)
            push(checkout, POLICY)
            os.write(writer, str(seen[0]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    _, ended = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as told:
        said = told.read()
    assert (os.WIFSIGNALED(ended), bool(said)) == (bool(event), not event), "the push ended before its time"
    return int(said or 0)


def test_killed_at_any_copy_and_run_again_it_is_complete(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.data.publish.check_or_raise", lambda *_, **__: None)  # writes nothing, takes its time
    store = checkout.root.parent / "store"

    def objects() -> dict[str, bytes]:
        return {path.parent.name + path.name: path.read_bytes() for path in stored(checkout) if path.name[0] != "."}

    events = push_until(checkout, 0)
    whole = objects()
    for name, content in whole.items():
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == name.removesuffix(".dir")
    for point in sorted({1 + n * (events - 1) // (KILLS - 1) for n in range(KILLS)}):
        for path in (store, checkout.root / ".dvc" / "cache", checkout.root.parent / "site"):
            shutil.rmtree(path, ignore_errors=True)
        (checkout.root / "data.dvc").unlink(missing_ok=True)
        push_until(checkout, point)
        assert push(checkout, POLICY).objects == len(whole), point
        assert objects() == whole, point
    verify(checkout)
    shutil.rmtree(checkout.root / ".dvc" / "cache")
    commit_all(checkout.root)
    assert data_digest(pull_into_clone(checkout)) == data_digest(checkout.data)
