"""A vector index of one bit for each number: what it finds of the exact best, and where it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from sluice.extras.admin.search_recall import questions_beside, scan, search, share
from sluice.extras.admin.verify_collection import verify
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.collection_tables import describe
from sluice.retrieval.index_files import build_index
from sluice.retrieval.postgres import SearchStatements, configure
from sluice.retrieval.postgres_collections import ensure_collection
from sluice.retrieval.stores import VectorSettings
from unit.retrieval.conftest import corpus, empty_database

pytestmark = pytest.mark.real

SIZE, DIMENSION = 3000, 384
SPEC = ModelSpec(name="fake", source="file:fake", sha256="0" * 64, licence="CC0-1.0")


class Uneven:
    """Vectors as embedders make them: a few directions hold most of what distinguishes them."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rng = np.random.default_rng(5)
        turn = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0]
        rows = rng.normal(size=(SIZE + 100, DIMENSION)) / (1 + np.arange(DIMENSION) / 20) @ turn
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)[: len(texts)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("binary") / "index"
    build_index(corpus(SIZE), Uneven(), SPEC, ChunkerSettings(), folder)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def store(address: str, index: Path) -> Iterator[tuple[Any, str]]:
    """A connection to a store with the collection of `index`, and the collection's name."""
    settings = VectorSettings(index="binary")
    with empty_database(address) as database, psycopg.connect(database, autocommit=True) as connection:
        yield connection, ensure_collection(connection, index, settings).collection


def test_recall_rises_with_what_is_ranked_again(store: tuple[Any, str], index: Path) -> None:
    """vector-stores.md has these figures."""
    connection, collection = store
    vectors = np.load(index / "vectors.npy")[::30]
    configure(connection, vectors=VectorSettings())
    asked = questions_beside(vectors, [None] * len(vectors))
    exact = [scan(connection, SearchStatements(connection, collection), each) for each in asked]

    def recall(oversampling: int) -> float:
        searches = SearchStatements(connection, collection, oversampling=oversampling)
        shares = [share(search(connection, searches, each), best) for each, best in zip(asked, exact, strict=True)]
        return float(np.mean(shares))

    found = {oversampling: recall(oversampling) for oversampling in (1, 4, 10, 20, 40)}
    print(found)
    assert found[1] < found[4] < found[10] < found[20]
    assert found[20] >= 0.97
    assert found[40] >= 0.99


def test_the_index_of_bits_is_small_and_is_what_a_search_reads(store: tuple[Any, str]) -> None:
    connection, collection = store
    definition, size = connection.execute(
        "SELECT pg_get_indexdef(oid), pg_relation_size(oid) FROM pg_class WHERE relname LIKE %s AND relkind = 'i'"
        " AND pg_get_indexdef(oid) LIKE %s",
        (f"{collection}%", "%USING hnsw%"),
    ).fetchone()
    assert f"binary_quantize(embedding))::bit({DIMENSION})) bit_hamming_ops" in definition
    assert size < SIZE * DIMENSION * 4 / 3
    before = scans(connection, collection)
    configure(connection, vectors=VectorSettings())
    vectors = np.eye(1, DIMENSION, dtype=np.float32)
    search(connection, SearchStatements(connection, collection), questions_beside(vectors, [None])[0])
    assert scans(connection, collection) == before + 1


def scans(connection: Any, collection: str) -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE relname = %s AND indexrelname LIKE '%%binary_quantize%%'",
        (collection,),
    ).fetchone()
    return int(row[0])


def test_verify_compares_with_the_vectors_and_searches_as_it_is_told(store: tuple[Any, str]) -> None:
    connection, collection = store
    found = verify(connection, collection, questions=60)
    assert found.faults == ()
    assert found.recall >= 0.95
    fewer = VectorSettings(index="binary", oversampling=1)
    assert verify(connection, collection, questions=60, vectors=fewer).recall < found.recall


def test_a_difference_is_searched_beside_its_base(address: str, index: Path, tmp_path: Path) -> None:
    """The base by bits, its few own rows by their vectors; other vector indexes are no base."""
    documents = corpus(SIZE, d0007="The word w7new.")
    build_index(documents, Uneven(), SPEC, ChunkerSettings(), tmp_path / "later")  # type: ignore[arg-type]
    settings = VectorSettings(precision="half", index="binary")
    with empty_database(address) as database, psycopg.connect(database, autocommit=True) as connection:
        first = ensure_collection(connection, index, settings).collection
        later = ensure_collection(connection, tmp_path / "later", settings).collection
        assert describe(connection, later).base == first
        assert verify(connection, later, questions=60).recall >= 0.95
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(later.replace("chunks", "whole"))))
        tables = [sql.Identifier(later.replace("chunks", kind)) for kind in ("chunks", "words")]
        connection.execute(sql.SQL("DROP TABLE {}, {}").format(*tables))
        ensure_collection(connection, tmp_path / "later", VectorSettings(precision="half"))
        assert describe(connection, later).base is None
