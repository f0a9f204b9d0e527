"""What a store does for a release: collections are loaded, searched, and go, with nothing in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from sluice.data.rows import Document
from sluice.retrieval.index_files import ChunkerSettings, IndexInfo, build_index
from sluice.retrieval.postgres_collections import drop, ensure_collection, list_collections
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores

from .conftest import Scattered, corpus

pytestmark = pytest.mark.real


@pytest.fixture
def stores(database: str, monkeypatch: pytest.MonkeyPatch) -> Stores:
    monkeypatch.setenv("BACKEND_TEST_STORE", database)
    spec = {"kind": "postgres", "url_env": "BACKEND_TEST_STORE"}
    return Stores.model_validate({"default": "x", "stores": {"x": spec}})


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def make(tmp_path: Path, spec: Any) -> Callable[[list[Document], str], IndexInfo]:
    return lambda documents, name="index": build_index(documents, Scattered(), spec, ChunkerSettings(), tmp_path / name)


def test_a_collection_is_loaded_once_and_listed(connection: psycopg.Connection[Any], make: Any, tmp_path: Path) -> None:
    info = make(corpus(5))
    assert list_collections(connection) == []
    for _ in range(2):
        assert ensure_collection(connection, tmp_path / "index") == info
        assert list_collections(connection) == [info.collection]


def test_the_nearest_come_first_with_what_was_stored(stores: Stores, make: Any, tmp_path: Path) -> None:
    documents = corpus(40)
    documents[7] = documents[7].model_copy(update={"text": "First.\n\nThe seventh word."})
    make(documents)
    with open_retriever(tmp_path / "index", Scattered(), stores, tmp_path) as retriever:
        hits = retriever.search("like T: The seventh word.", k=4)
        assert len(hits) == 4
        best = hits[0]
        assert (best.chunk_id, best.doc_id, best.title, best.text) == ("d0007#1", "d0007", "T", "The seventh word.")
        assert best.start == len("First. ")
        assert best.similarity == pytest.approx(1, abs=0.02)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(retriever.search("anything", k=100)) == 41
        (document,) = retriever.invoke("like T: The seventh word.", k=1)
        assert (document.id, document.metadata["title"]) == ("d0007#1", "T")


def test_the_similarity_is_the_cosine(stores: Stores, make: Any, tmp_path: Path) -> None:
    make(corpus(10))
    with open_retriever(tmp_path / "index", Scattered(), stores, tmp_path) as retriever:
        question, *texts = Scattered().embed(["Which?", *(f"T: The word wd{n:04}x." for n in range(10))])
        hits = {hit.doc_id: hit.similarity for hit in retriever.search("Which?", k=10)}
        assert [hits[f"d{n:04}"] for n in range(10)] == pytest.approx(
            [float(np.dot(question, text)) for text in texts], abs=1e-5
        )


def test_collections_stand_beside_each_other_and_go_one_by_one(
    connection: psycopg.Connection[Any], stores: Stores, make: Any, tmp_path: Path
) -> None:
    first, second = make(corpus(5), "a").collection, make(corpus(6), "b").collection
    for name in ("a", "b"):
        ensure_collection(connection, tmp_path / name)
    assert list_collections(connection) == sorted([first, second])
    with connection.transaction():
        assert drop(connection, first)
    assert list_collections(connection) == [second]
    with open_retriever(tmp_path / "b", Scattered(), stores, tmp_path, load=False) as retriever:
        assert len(retriever.search("anything", k=10)) == 6
    ensure_collection(connection, tmp_path / "a")
    assert list_collections(connection) == sorted([first, second])


def test_a_load_that_fails_leaves_no_collection_and_the_next_one_completes(
    connection: psycopg.Connection[Any],
    stores: Stores,
    make: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sluice.retrieval import index_files, postgres_collections

    info = make(corpus(250))
    read = index_files.read_index(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(postgres_collections, "read_index", lambda _: (read[0], read[1], read[2][:220]))
        with pytest.raises(ValueError, match="shorter"):  # the vectors are fewer than the chunks
            ensure_collection(connection, tmp_path / "index")
    assert list_collections(connection) == []
    assert ensure_collection(connection, tmp_path / "index") == info
    with open_retriever(tmp_path / "index", Scattered(), stores, tmp_path, load=False) as retriever:
        assert retriever.search("like T: The word wd0240x.", k=1)[0].doc_id == "d0240"
