"""A push that is killed at twenty points is completed by the next one: into a folder, and into S3 (make test-drill)."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.data_policy import DataPolicy
from sluice.data.publish import push, verify
from unit.data.conftest import commit, make_checkout, pull_into_clone

POLICY = DataPolicy()
KILLS = 20


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


def at_calls(fuse: Fuse) -> None:
    """Of S3: before, and after S3 has done it but before its answer has arrived."""
    from s3fs import S3FileSystem

    called = S3FileSystem._call_s3

    async def call(self: S3FileSystem, method: str, *more: Any, **named: Any) -> Any:
        fuse.burn()
        result = await called(self, method, *more, **named)
        fuse.burn()
        return result

    S3FileSystem._call_s3 = call


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
    """With enough files for twenty points."""
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


@pytest.fixture
def few(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With so few files that a push takes half a second; its three objects are some twenty calls of S3."""
    monkeypatch.setattr("sluice.data.publish.check_or_raise", lambda *_, **__: None)
    shutil.rmtree(checkout.data / "corpus")
    return checkout


@pytest.fixture
def quick_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each new process would read again before its first call: a megabyte of S3's description."""
    import aiobotocore.session  # noqa: F401
    import dvc_s3  # noqa: F401
    import s3fs  # noqa: F401
    from botocore.loaders import JSONFileLoader

    read = JSONFileLoader().load_file
    known = functools.cache(read)
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _, path: known(path))


@pytest.mark.usefixtures("quick_clients")
@pytest.mark.parametrize("kills", [3, pytest.param(KILLS, marks=pytest.mark.drill)])
def test_into_s3(few: Workspace, bucket: str, kills: int) -> None:
    """Each push in a process of its own: s3fs, once used, does not survive a fork."""
    import boto3

    push(few, POLICY)  # into the folder, so that the processes find dvc loaded
    make_checkout(few.root, f"{bucket}/dvc", cache=few.root.parent / "site")
    client = boto3.client("s3")

    def objects() -> dict[str, bytes]:
        found = client.list_objects_v2(Bucket="artefacts").get("Contents", [])
        return {
            "".join(one["Key"].split("/")[-2:]): client.get_object(Bucket="artefacts", Key=one["Key"])["Body"].read()
            for one in found
        }

    forget(few)
    events = push_until(few, None, at_calls)
    whole = objects()
    assert len(whole) == 3
    assert damaged(whole) == []
    for point in points_of(events, kills):
        forget(few)
        httpx.post(f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset", timeout=60)
        client.create_bucket(Bucket="artefacts")
        push_until(few, point, at_calls)
        assert damaged(objects()) == [], point  # also before it is completed: S3 has whole objects or none
        push_until(few, None, at_calls)
        assert objects() == whole, point
    verify(few)
    shutil.rmtree(few.root / ".dvc" / "cache")
    commit(few.root)
    pulled = pull_into_clone(few)
    assert data_digest(pulled) == data_digest(few.data)
