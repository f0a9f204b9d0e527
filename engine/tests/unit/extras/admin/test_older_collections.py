"""Collections of older code: plain ones are read; differences, partitions and binary indexes are replaced by a load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.extras.admin.collections import listed, prune
from sluice.extras.admin.verify_collection import verify
from sluice.retrieval.collection_tables import describe, words_of
from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.postgres import SearchStatements
from sluice.retrieval.postgres_collections import drop, ensure_collection, hold, list_collections
from sluice.retrieval.store_schema import load_release, migrate

pytestmark = pytest.mark.real
PLAIN = {"base": None, "partition_by": None, "dropped": {}}
BINARY = {"vectors": {"precision": "single", "index": "binary", "oversampling": 20, "m": 16}}
OTHER_FORMS = [{"base": "chunks_of_another"}, {"partition_by": "tenant"}, BINARY]


@pytest.fixture
def store(database: str) -> Iterator[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def info(build: Any, store: Any, tmp_path: Path) -> IndexInfo:
    build()
    return ensure_collection(store, tmp_path / "index")


def comment(store: Any, collection: str, changed: dict[str, Any]) -> None:
    """Writes the comment of the table as older code did."""
    found = describe(store, collection)
    assert found is not None
    text = json.dumps(json.loads(found.model_dump_json()) | PLAIN | changed)
    store.execute(psycopg.sql.SQL("COMMENT ON TABLE {} IS {}").format(psycopg.sql.Identifier(collection), text))


def test_a_plain_one_is_read(store: Any, info: IndexInfo, tmp_path: Path) -> None:
    before = describe(store, info.collection)
    vectors = {"precision": "single", "index": "full", "oversampling": 20, "m": 16, "ef_construction": 64}
    comment(store, info.collection, {"vectors": vectors})
    assert describe(store, info.collection) == before
    store.execute(f"DELETE FROM {info.collection}")
    ensure_collection(store, tmp_path / "index")
    assert listed(store)[0].rows == 0, "it is not loaded anew"


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_one_of_another_form_is_not_searched_and_replaced_by_a_load(
    store: Any, info: IndexInfo, tmp_path: Path, form: dict[str, Any]
) -> None:
    comment(store, info.collection, form)
    store.execute(f"DELETE FROM {info.collection}")
    with pytest.raises(SluiceError, match="loaded by older code") as raised:
        SearchStatements(store, info.collection)
    assert "sluice index load" in str(raised.value.remedy)
    ensure_collection(store, tmp_path / "index")
    assert verify(store, info.collection).faults == ()


def test_one_that_a_service_searches_is_not_replaced(
    store: Any, info: IndexInfo, database: str, tmp_path: Path
) -> None:
    comment(store, info.collection, {"partition_by": "tenant"})
    with psycopg.connect(database, autocommit=True) as service:
        hold(service, info.collection)
        with pytest.raises(SluiceError, match="older code, and a service or another collection needs it"):
            ensure_collection(store, tmp_path / "index")


def test_a_difference_goes_before_what_it_is_built_on(
    store: Any, build: Any, documents: list[Any], tmp_path: Path
) -> None:
    with psycopg.connect(store.info.dsn) as connection:
        migrate(connection)
    build(documents[:1], out=tmp_path / "kept")
    load_release(store, tmp_path / "kept", "r-kept")
    base, later = build(documents, out=tmp_path / "base"), build(documents[1:], out=tmp_path / "later")
    for info, name in ((base, "base"), (later, "later")):
        load_release(store, tmp_path / name, f"r-{name}")
        assert words_of(info.collection) in {row[0] for row in store.execute("SELECT relname FROM pg_class")}
    view = later.collection.replace("chunks", "whole", 1)
    store.execute(f"CREATE VIEW {view} AS SELECT id FROM {base.collection} UNION ALL SELECT id FROM {later.collection}")
    comment(store, later.collection, {"base": base.collection})
    with store.transaction():
        assert not drop(store, base.collection)
    assert prune(store, ["r-kept"]).held == ()
    assert len(list_collections(store)) == 1
