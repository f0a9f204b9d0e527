"""Harm to a collection is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.admin.collections import listed
from sluice.extras.admin.verify_collection import verify
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.index_files import build_index
from sluice.retrieval.postgres_collections import ensure_collection
from sluice.retrieval.stores import VectorSettings
from unit.retrieval.conftest import Scattered, corpus

pytestmark = pytest.mark.real


@pytest.fixture
def store(database: str) -> Iterator[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def collection(store: Any, spec: Any, tmp_path: Path) -> str:
    documents = corpus(30)
    documents[3] = documents[3].model_copy(update={"tenant": "acme"})
    documents[4] = documents[4].model_copy(update={"text": "One paragraph.\n\nAnother one."})
    build_index(documents[::-1], Scattered(), spec, ChunkerSettings(), tmp_path / "index")
    return ensure_collection(store, tmp_path / "index").collection


def test_a_whole_one(store: Any, collection: str) -> None:
    found = verify(store, collection)
    assert (found.collection, found.chunks, found.faults) == (collection, 31, ())
    assert (found.recall, found.questions) == (1.0, 31)


@pytest.mark.parametrize("precision", ["single", "half"])
def test_one_with_a_vector_index(store: Any, spec: Any, tmp_path: Path, precision: Literal["single", "half"]) -> None:
    build_index(corpus(2200), Scattered(), spec, ChunkerSettings(), tmp_path / "index")
    info = ensure_collection(store, tmp_path / "index", VectorSettings(precision=precision))
    found = verify(store, info.collection)
    assert (found.chunks, found.faults) == (2200, ())
    assert found.recall > 0.9
    assert [one.vector_index for one in listed(store)] == [True]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("DELETE FROM {} WHERE id = 'd0005#0'", ["30 chunks, index.json says 31", "the chunks' digest is"]),
        ("UPDATE {} SET text = 'Other.' WHERE id = 'd0005#0'", ["the chunks' digest is", "such as d0005#0"]),
        ("UPDATE {} SET tenant = NULL WHERE id = 'd0003#0'", ["the chunks' digest is", "such as d0003#0"]),
        ("UPDATE {} SET start = 7 WHERE id = 'd0004#1'", ["such as d0004#1"]),
        (
            "UPDATE {} SET embedding = embedding + embedding WHERE id = 'd0005#0'",
            ["1 vectors are not of length 1, such as that of d0005#0"],
        ),
        (
            "INSERT INTO {} SELECT 'z', 'z', title, text, start, tenant, content, embedding FROM {} LIMIT 1",
            ["32 chunks, index.json says 31", "chunks of 31 documents, index.json says 30"],
        ),
    ],
)
def test_harm(store: Any, collection: str, harm: str, said: list[str]) -> None:
    store.execute(harm.replace("{}", collection))
    faults = verify(store, collection).faults
    for line in said:
        assert any(line in fault for fault in faults), (line, faults)


def test_one_of_older_code_cannot_be_verified(store: Any, collection: str) -> None:
    store.execute(f"COMMENT ON TABLE {collection} IS NULL")
    with pytest.raises(SluiceError, match="loaded by older code"):
        verify(store, collection)
