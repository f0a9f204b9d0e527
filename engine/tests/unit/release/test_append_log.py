"""Who appends at once overwrites nobody, in a folder, in a bucket, and in git where the extra for it is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.release.append_log import AppendLog
from sluice.release.artifact_store import open_artifact_store
from support.local_server import in_thread
from unit.release.buckets import bucket_server
from unit.release.stores import OF_EXTRAS


class Word(Settings):
    word: str


@pytest.fixture(params=["folder", "bucket", "bucket without boto3", *OF_EXTRAS])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    loopback: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "place")
        return
    if request.param in OF_EXTRAS:
        yield OF_EXTRAS[request.param].record_address(tmp_path)
        return
    if "without" in request.param:  # as in the images: obstore finds the credentials itself
        monkeypatch.setitem(sys.modules, "obstore.auth.boto3", None)
    with bucket_server() as name:
        yield name


def log(store: str) -> AppendLog[Word]:
    return AppendLog(open_artifact_store(store), "record/here", Word)


def test_entries_are_read_newest_first(store: str) -> None:
    assert list(log(store).newest()) == []
    for word in ("a", "b", "c"):
        log(store).append(Word(word=word))
    assert [entry.word for entry in log(store).newest()] == ["c", "b", "a"]


def test_many_who_append_at_once_are_all_there(store: str) -> None:
    """Eight machines, each with a connection of its own."""
    words = [f"{machine}-{number}" for machine in range(8) for number in range(3)]

    def append(machine: int) -> None:
        mine = log(store)
        for number in range(3):
            mine.append(Word(word=f"{machine}-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    found = [entry.word for entry in log(store).newest()]
    assert sorted(found) == sorted(words)
    for machine in range(8):
        mine = [word for word in reversed(found) if word.startswith(f"{machine}-")]
        assert mine == sorted(mine)


def test_what_is_there_cannot_be_made_again(store: str) -> None:
    here = open_artifact_store(store)
    assert here.make("record/here/000001.json", b"first")
    assert not here.make("record/here/000001.json", b"second")
    assert here.read("record/here/000001.json") == b"first"


class Refusing(BaseHTTPRequestHandler):
    """A bucket in which another writer is quicker: docs.aws.amazon.com, How to prevent object overwrites with
    conditional writes (412 when the name is taken, 409 while somebody takes it)."""

    status = 412

    def do_PUT(self) -> None:
        assert self.headers["If-None-Match"] == "*"
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("status", [409, 412])
def test_a_bucket_in_which_another_is_quicker(loopback: None, monkeypatch: pytest.MonkeyPatch, status: int) -> None:  # noqa: ARG001
    monkeypatch.setattr(Refusing, "status", status)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "testing")
    with in_thread(server):
        assert not open_artifact_store("s3://bucket").make("record/here/000001.json", b"mine")


def test_a_file_that_does_not_belong_there_is_named(store: str) -> None:
    open_artifact_store(store).make("record/here/notes.txt", b"")
    with pytest.raises(SluiceError, match=r"notes\.txt: does not belong in the record"):
        log(store).append(Word(word="a"))


def test_an_entry_that_is_not_there_is_named(store: str) -> None:
    with pytest.raises(SluiceError, match=r"record/here/000009\.json"):
        open_artifact_store(store).read("record/here/000009.json")


def test_others_who_are_always_quicker_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = log(str(tmp_path))
    monkeypatch.setattr(type(mine.store), "make", lambda *_: False)
    with pytest.raises(SluiceError, match="concurrent appends came first"):
        mine.append(Word(word="a"))
