"""A collection that differs little from one that is there holds the difference, and is searched as if it were whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.data.rows import Document
from sluice.extras.admin.collection_needs import needs
from sluice.extras.admin.store_contents import listed, stats
from sluice.extras.admin.verify_collection import verify
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.collection_tables import describe
from sluice.retrieval.index_files import IndexInfo, build_index
from sluice.retrieval.postgres import SearchStatements, configure, values_of
from sluice.retrieval.postgres_collections import drop, ensure_collection
from sluice.retrieval.stores import VectorSettings
from unit.retrieval.conftest import Scattered, corpus

pytestmark = pytest.mark.real
SIZE = 2200
CHANGED = {"d0007": "The word w7new.", "d0100": "The word w100new.", "d2100": "The word w2100new."}
MODES = ("hybrid", "vectors", "text")


def build(documents: list[Document], out: Path, spec: Any) -> IndexInfo:
    return build_index(documents, Scattered(), spec, ChunkerSettings(), out)  # type: ignore[arg-type]


def later() -> list[Document]:
    """Three changed, two gone, one new."""
    kept = [document for document in corpus(SIZE, **CHANGED) if document.id not in ("d0001", "d0002")]
    new = kept[0].model_copy(update={"id": "x0001", "text": "The word wx1new."})
    return [*kept, new]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `first` and `later`."""
    from sluice.llm.model_files import ModelSpec

    spec = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")
    folder = tmp_path_factory.mktemp("indexes")
    build(corpus(SIZE), folder / "first", spec)
    build(later(), folder / "later", spec)
    return folder


@pytest.fixture
def store(database: str) -> Iterator[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def searcher(connection: Any, collection: str) -> Callable[..., list[Any]]:
    configure(connection, vectors=VectorSettings())
    searches = SearchStatements(connection, collection)
    return lambda question, mode, **more: searches.run(
        connection, values_of(question, Scattered(), tenant=None), k=10, mode=mode, **more
    )


def test_only_the_difference_is_stored_and_found_is_what_the_whole_would_find(
    store: Any, address: str, indexes: Path
) -> None:
    first, second = (ensure_collection(store, indexes / name) for name in ("first", "later"))
    whole, difference = (
        next(each for each in listed(store) if each.collection == one.collection) for one in (first, second)
    )
    assert (whole.rows, whole.base, whole.vector_index) == (SIZE, None, True)
    assert (difference.rows, difference.base, difference.chunks) == (6, first.collection, SIZE - 1)
    assert difference.table_bytes < whole.table_bytes / 10
    with psycopg.connect(address, autocommit=True) as other:
        name = f"alone_{first.digest[:8]}"
        other.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(psycopg.conninfo.make_conninfo(address, dbname=name), autocommit=True) as alone:
            ensure_collection(alone, indexes / "later")
            assert describe(alone, second.collection).base is None
            here, there = searcher(store, second.collection), searcher(alone, second.collection)
            questions = [f"like The word w{d}x." for d in ("d0007", "d0001", "d0500", "d2100")]
            questions += [f"T: {text}" for text in (*CHANGED.values(), "The word wx1new.", "The word wd0001x.")]
            for question in questions:
                for mode in MODES:
                    assert here(question, mode) == there(question, mode), (question, mode)
        other.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_what_is_gone_is_not_found_and_the_first_is_as_it_was(store: Any, indexes: Path) -> None:
    first, second = (ensure_collection(store, indexes / name) for name in ("first", "later"))
    for mode in MODES:
        assert searcher(store, first.collection)("T: The word wd0001x.", mode)[0].doc_id == "d0001"
        assert searcher(store, second.collection)("T: The word w7new.", mode)[0].doc_id == "d0007"
        found = searcher(store, second.collection)("T: The word wd0001x.", mode)
        assert "d0001" not in {hit.doc_id for hit in found}
    assert verify(store, first.collection).faults == ()
    found = verify(store, second.collection)
    assert (found.faults, found.chunks) == ((), SIZE - 1)
    assert found.recall > 0.9


def test_only_of_some_documents(store: Any, indexes: Path) -> None:
    ensure_collection(store, indexes / "first")
    second = ensure_collection(store, indexes / "later")
    search = searcher(store, second.collection)
    for mode in MODES:
        found = search("The word", mode, documents=["d0007", "d2050", "d0001"])
        assert {hit.doc_id for hit in found} == {"d0007", "d2050"}, mode


def test_a_base_stays_for_as_long_as_something_is_built_on_it(store: Any, indexes: Path) -> None:
    first, second = (ensure_collection(store, indexes / name).collection for name in ("first", "later"))
    assert needs(store, first) == [f"{second} is built on it"]
    with store.transaction():
        assert not drop(store, first)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        store.execute(f"DROP TABLE {first}")
    with store.transaction():
        assert drop(store, second)
    with store.transaction():
        assert drop(store, first)
    assert stats(store).collections == ()


def test_much_that_differs_makes_a_whole_collection(store: Any, indexes: Path, spec: Any, tmp_path: Path) -> None:
    ensure_collection(store, indexes / "first")
    changed = {f"d{number:04}": f"Another word w{number}." for number in range(300)}
    build(corpus(SIZE, **changed), tmp_path / "other", spec)
    assert describe(store, ensure_collection(store, tmp_path / "other").collection).base is None


def test_other_vectors_are_no_base(store: Any, indexes: Path, spec: Any, tmp_path: Path) -> None:
    """Of another embedder, or of another precision."""
    ensure_collection(store, indexes / "first")
    half = ensure_collection(store, indexes / "later", VectorSettings(precision="half"))
    assert describe(store, half.collection).base is None
    assert verify(store, half.collection).faults == ()
    build(later(), tmp_path / "other", spec.model_copy(update={"sha256": "1" * 64}))
    assert describe(store, ensure_collection(store, tmp_path / "other").collection).base is None
