"""A name is switched from one collection to another while many search by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.extras.admin.alias_retriever import AliasRetriever, open_live
from sluice.extras.admin.collection_names import drop_one, switch
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.collection_usage import load, named, prune
from sluice.retrieval.index_files import build_index
from sluice.retrieval.postgres_collections import ensure_collection, list_collections
from unit.retrieval.conftest import Scattered, corpus
from unit.retrieval.test_store_schema import STORES, run

pytestmark = pytest.mark.real
VERSIONS = ("apple", "birch", "cedar")


@pytest.fixture
def store(database: str) -> Iterator[Any]:
    run(database)
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def collections(store: Any, spec: Any, tmp_path: Path) -> list[str]:
    """Three; every chunk of one names its version."""
    made = []
    for word in VERSIONS:
        documents = corpus(20, **{f"d{n:04}": f"The {word} number {n}." for n in range(20)})
        build_index(documents, Scattered(), spec, ChunkerSettings(), tmp_path / word)
        made.append(ensure_collection(store, tmp_path / word).collection)
    return made


@pytest.fixture
def live(
    store: Any,  # noqa: ARG001 - with its schema
    database: str,
    spec: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AliasRetriever]:
    monkeypatch.setenv("SCHEMA_TEST_STORE", database)
    with open_live("live", Scattered(), spec, STORES, tmp_path) as opened:
        yield opened


@contextmanager
def asking(live: AliasRetriever, a_second: int, found: list[Any], failed: list[Exception]) -> Iterator[None]:
    """So many questions a second, whatever else happens."""
    over = threading.Event()

    def ask() -> None:
        try:
            found.append(live.search("Which number?", k=10))
        except Exception as error:
            failed.append(error)

    def begin() -> None:
        threads = []
        due = time.monotonic()
        while not over.is_set():
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
            due += 1 / a_second
            time.sleep(max(0.0, due - time.monotonic()))
        for thread in threads:
            thread.join()

    starter = threading.Thread(target=begin)
    starter.start()
    try:
        yield
    finally:
        over.set()
        starter.join()


def test_switching_under_fifty_requests_a_second(store: Any, live: AliasRetriever, collections: list[str]) -> None:
    """None fails, and none sees two versions; those that are gone are dropped on the way and loaded again never."""
    found: list[Any] = []
    failed: list[Exception] = []
    switch(store, "live", collections[0])

    def answered_by(collection: str) -> None:
        """Waits for an answer out of it that was not there before."""
        seen = len(found)
        assert wait_until(lambda: collection in {name for name, _ in found[seen:]} or bool(failed), seconds=60)

    with asking(live, 50, found, failed):
        for turn in range(1, 21):
            answered_by(collections[(turn + 1) % 2])
            assert switch(store, "live", collections[turn % 2]) == collections[(turn + 1) % 2]
        switch(store, "live", collections[2])
        answered_by(collections[2])
        drop_one(store, collections[1])
        assert wait_until(lambda: len(found) >= 50, seconds=60)
        answered_by(collections[2])
    assert failed == []
    assert len(found) >= 50
    words = dict(zip(collections, VERSIONS, strict=True))
    for collection, hits in found:
        assert len(hits) == 10
        assert {word for hit in hits for word in VERSIONS if word in hit.text} == {words[collection]}
    assert {collection for collection, _ in found} == set(collections)


def test_a_reader_that_comes_late_asks_again(store: Any, live: AliasRetriever, collections: list[str]) -> None:
    """Between its look at the name and its search the collection is switched and dropped."""
    switch(store, "live", collections[0])
    resolve = live._resolve
    pending = [collections[1], collections[2]]

    def late(connection: Any) -> str:
        was = resolve(connection)
        if pending:
            switch(store, "live", pending[0])
            store.execute("UPDATE sluice_names SET previous = NULL")
            drop_one(store, was)
            pending.pop(0)
        return was

    live._resolve = late  # type: ignore[method-assign]
    assert live.search("Which number?", k=1)[0] == collections[2]


def test_the_one_before_stays_for_going_back(store: Any, collections: list[str]) -> None:
    assert switch(store, "live", collections[0]) is None
    assert switch(store, "live", collections[1]) == collections[0]
    assert switch(store, "live", collections[1]) == collections[1]
    assert named(store) == {collections[1]: ["live"], collections[0]: ["before live"]}
    for collection, what in ((collections[1], "it is live"), (collections[0], "it is before live")):
        with pytest.raises(SluiceError, match=f"{collection}: stays: {what}"):
            drop_one(store, collection)
    assert switch(store, "live", collections[0]) == collections[1]


def test_pruning_releases_leaves_what_a_name_stands_for(store: Any, collections: list[str], tmp_path: Path) -> None:
    for number, word in enumerate(VERSIONS):
        load(store, tmp_path / word, f"r-{number}")
    switch(store, "live", collections[0])
    assert prune(store, ["r-1"]).dropped == (collections[2],)
    assert list_collections(store) == sorted(collections[:2])


def test_what_is_not_there_is_not_switched_to(store: Any, live: AliasRetriever, collections: list[str]) -> None:
    with pytest.raises(SluiceError, match="live: stands for no collection"):
        live.search("Which number?", k=1)
    with pytest.raises(SluiceError, match=r"no such collection in the store \(did you mean"):
        switch(store, "live", collections[0][:-1])
    switch(store, "live", collections[0])
    store.execute(f"DROP TABLE {collections[0]}, {collections[0].replace('chunks', 'words')}")
    with pytest.raises(SluiceError, match="which is not in the store"):
        live.search("Which number?", k=1)


def test_vectors_of_another_embedder_are_refused(store: Any, live: AliasRetriever, spec: Any, tmp_path: Path) -> None:
    other = spec.model_copy(update={"source": "file:other", "sha256": "1" * 64})
    build_index(corpus(3), Scattered(), other, ChunkerSettings(), tmp_path / "other")
    switch(store, "live", ensure_collection(store, tmp_path / "other").collection)
    with pytest.raises(SluiceError, match="made by the embedder file:other, the question's vector is of file:fake"):
        live.search("Which number?", k=1)
