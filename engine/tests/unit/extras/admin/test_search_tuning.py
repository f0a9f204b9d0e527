"""ef_search is chosen by what an exact scan finds, and where none is enough that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.admin.search_tuning import VALUES, TuningResult, TuningTrial, tune
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


def loaded(store: Any, spec: Any, folder: Path, size: int, vectors: VectorSettings) -> str:
    build_index(corpus(size), Scattered(), spec, ChunkerSettings(), folder)
    return ensure_collection(store, folder, vectors).collection


def test_the_smallest_that_reaches_the_target(store: Any, spec: Any, tmp_path: Path) -> None:
    """With few links the index of vectors in all directions misses much, the less the more it looks at."""
    poor = VectorSettings(m=4, ef_construction=8, ef_search=10)
    name = loaded(store, spec, tmp_path / "index", 2500, poor)
    found = tune(store, name, target=0.95, questions=60)
    assert [tried.ef_search for tried in found.tried] == list(VALUES[: len(found.tried)])
    assert found.chosen() == found.tried[-1].ef_search > VALUES[0]
    assert all(tried.recall < 0.95 and tried.milliseconds > 0 for tried in found.tried[:-1])
    assert found.tried[0].recall < 0.9
    # What is compared with is exact, also when the statement was prepared with the index before.
    assert verify(store, name, questions=60).recall < 0.9


def test_too_few_for_a_vector_index(store: Any, spec: Any, tmp_path: Path) -> None:
    name = loaded(store, spec, tmp_path / "index", 30, VectorSettings())
    with pytest.raises(SluiceError, match="too few chunks for a vector index"):
        tune(store, name)


def test_where_none_reaches_it_the_remedy_is_another_index() -> None:
    tried = tuple(TuningTrial(value, recall, 1.0) for value, recall in ((800, 0.991), (1000, 0.99)))
    with pytest.raises(SluiceError, match=r"recall@10 of 0.995; the best is 0.991") as caught:
        TuningResult("chunks_v3_a", 0.995, 10, tried, VectorSettings(ef_construction=64)).chosen()
    assert "ef_construction" in caught.value.remedy
    assert "sluice index drop chunks_v3_a" in caught.value.remedy
