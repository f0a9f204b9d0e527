from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from sluice.core.processes import wait_until
from sluice.retrieval.index_files import IndexInfo, read_index
from sluice.retrieval.postgres_collections import drop, ensure_collection, list_collections, load_release
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores
from starter_files import ROOT

from .conftest import OLD, Scattered, corpus

pytestmark = pytest.mark.real
Build = Callable[..., IndexInfo]
Connection = psycopg.Connection[Any]

LOADER = """
import sys
from pathlib import Path
import psycopg
from sluice.retrieval.postgres_collections import ensure_collection
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    for _ in range(3):
        print(ensure_collection(connection, Path(sys.argv[2])).collection)
"""


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def test_a_collection_is_loaded_once_and_whole(connection: Connection, build: Build, tmp_path: Path) -> None:
    from pgvector.psycopg import register_vector

    info = build(corpus(5))
    assert list_collections(connection) == []
    for _ in range(2):
        assert ensure_collection(connection, tmp_path / "index") == info
        assert list_collections(connection) == [info.collection]
    register_vector(connection)
    _, chunks, vectors = read_index(tmp_path / "index")
    statement = sql.SQL("SELECT id, doc_id, title, text, embedding FROM {} ORDER BY id")
    rows = connection.execute(statement.format(sql.Identifier(info.collection))).fetchall()
    assert [row[:4] for row in rows] == [(one.id, one.doc_id, one.title, one.text) for one in chunks]
    np.testing.assert_allclose(np.asarray([row[4] for row in rows], dtype=np.float32), vectors, atol=1e-6)


def test_two_processes_at_once_load_it_once(
    connection: Connection, database: str, build: Build, tmp_path: Path
) -> None:
    info = build(corpus(3))
    argv = [sys.executable, "-c", LOADER, database, str(tmp_path / "index")]
    pipes: Any = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    loaders = [subprocess.Popen(argv, **pipes, text=True) for _ in range(2)]
    for loader in loaders:
        out, errors = loader.communicate(timeout=240)
        assert (loader.returncode, errors) == (0, "")
        assert out.split() == [info.collection] * 3
    assert list_collections(connection) == [info.collection]


def test_the_nearest_come_first_with_what_was_stored(stores: Stores, build: Build, tmp_path: Path) -> None:
    documents = corpus(10)
    documents[7] = documents[7].model_copy(update={"text": "First.\n\nThe seventh word."})
    build(documents)
    with open_retriever(tmp_path / "index", Scattered(), stores, tmp_path) as retriever:
        hits = retriever.search("like T: The seventh word.", k=4)
        assert len(hits) == 4
        best = hits[0]
        assert (best.chunk_id, best.doc_id, best.title, best.text) == ("d0007#1", "d0007", "T", "The seventh word.")
        assert best.start == len("First. ")
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(retriever.search("anything", k=100)) == 11
        (document,) = retriever.invoke("like T: The seventh word.", k=1)
        assert (document.id, document.metadata["title"]) == ("d0007#1", "T")
        question, text = Scattered().embed(["Which?", "T: The word wd0003x."])
        (found,) = (hit for hit in retriever.search("Which?", k=11) if hit.doc_id == "d0003")
        assert found.similarity == pytest.approx(float(np.dot(question, text)), abs=1e-5), "it is the cosine"


def test_collections_go_one_by_one(connection: Connection, stores: Stores, build: Build, tmp_path: Path) -> None:
    first, second = build(corpus(5), out=tmp_path / "a").collection, build(corpus(6), out=tmp_path / "b").collection
    for name in ("a", "b"):
        ensure_collection(connection, tmp_path / name)
    assert list_collections(connection) == sorted([first, second])
    with connection.transaction():
        assert drop(connection, first)
    assert list_collections(connection) == [second]
    with open_retriever(tmp_path / "b", Scattered(), stores, tmp_path, load=False) as retriever:
        assert len(retriever.search("anything", k=10)) == 6


def test_a_load_that_fails_leaves_no_collection_and_the_next_one_completes(
    connection: Connection, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sluice.retrieval import postgres_collections

    info = build(corpus(250))
    read = read_index(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(postgres_collections, "read_index", lambda _: (read[0], read[1], read[2][:220]))
        with pytest.raises(ValueError, match="shorter"):  # the vectors are fewer than the chunks
            ensure_collection(connection, tmp_path / "index")
    assert list_collections(connection) == []
    assert ensure_collection(connection, tmp_path / "index") == info
    assert list_collections(connection) == [info.collection]


def test_a_release_is_loaded_once(store: psycopg.Connection[Any], loaded: dict[str, str], tmp_path: Path) -> None:
    before = store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall()
    load_release(store, tmp_path / OLD, OLD)
    assert store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall() == before
    assert list_collections(store) == sorted(loaded.values())


def test_two_load_into_an_empty_store_at_once(database: str, build: Callable[..., Any], tmp_path: Path) -> None:
    build()

    def load(release: str) -> str:
        with psycopg.connect(database, autocommit=True) as connection:
            return load_release(connection, tmp_path / "index", release).collection

    with ThreadPoolExecutor(2) as pool:
        assert len({*pool.map(load, ("r-111111111111", "r-222222222222"))}) == 1
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM sluice_releases").fetchone() == (2,)


class Reader(threading.Thread):
    """Searches at a steady rate, as a pod of the live release does."""

    def __init__(self, search: Callable[[], Any]) -> None:
        super().__init__()
        self._search, self._over = search, threading.Event()
        self.answered = 0

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.02):
            assert self._search()
            self.answered += 1

    def more(self, count: int = 20) -> None:
        goal = self.answered + count
        assert wait_until(lambda: self.answered >= goal or not self.is_alive(), seconds=60)
        assert self.is_alive(), "a search failed"


def test_a_running_release_answers_through_a_load(
    database: str, build: Callable[..., Any], documents: list[Any], tmp_path: Path, stores: Stores
) -> None:
    build(out=tmp_path / "old")
    build(documents[1:], out=tmp_path / "new")
    with (
        open_retriever(tmp_path / "old", Scattered(), stores, tmp_path) as retriever,
        Reader(lambda: retriever.search("Who is paged?", k=1)) as reader,
    ):
        reader.more()
        with psycopg.connect(database, autocommit=True) as connection:
            load_release(connection, tmp_path / "new", "r-111111111111")
        reader.more()


PAGE = ROOT / "docs" / "aws.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the project has no docs/aws.md")
def test_a_service_answers_as_the_user_of_the_page_that_is_no_owner(
    database: str, build: Callable[..., Any], tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    name = "sluice_user_test"
    build()
    with psycopg.connect(database, autocommit=True) as owner:
        where = owner.execute("SELECT current_database()").fetchone()
        assert where
        made = re.sub(r"\bsluice\b", name, statements).replace(f"DATABASE {name}", f'DATABASE "{where[0]}"')
        for statement in filter(str.strip, made.split(";")):
            owner.execute(statement.encode())
        try:
            address = psycopg.conninfo.make_conninfo(database, user=name, password="…")
            with psycopg.connect(address) as user:
                granted = user.execute("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = user")
                assert granted.fetchone() == (False, False, False)
                load_release(user, tmp_path / "index", "r-111111111111")
            monkeypatch.setenv("RETRIEVAL_TEST_STORE", address)
            with open_retriever(tmp_path / "index", Scattered(), stores, tmp_path) as retriever:
                assert retriever.search("leave", k=2)
            with psycopg.connect(address) as user, pytest.raises(psycopg.errors.InsufficientPrivilege):
                user.execute("CREATE ROLE another")
            with psycopg.connect(database, user="sluice_b", password="…") as second:
                assert second.execute("SELECT current_user").fetchone() == (name,), "what it makes is the first one's"
                assert second.execute("SELECT count(*) FROM sluice_releases").fetchone() == (1,)
        finally:
            owner.execute(f"DROP OWNED BY {name} CASCADE".encode())
            owner.execute(f"DROP ROLE sluice_b, {name}".encode())
