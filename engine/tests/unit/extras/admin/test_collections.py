import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.extras.admin.collections import DROPPED, HELD, UNRECORDED, listed, prune
from sluice.extras.admin.verify_collection import verify
from sluice.retrieval.index_files import ChunkerSettings, IndexInfo, build_index
from sluice.retrieval.postgres_collections import describe, ensure_collection, hold, list_collections, load_release
from sluice.retrieval.retriever import SearchStatements, open_retriever
from sluice.retrieval.stores import Stores, VectorSettings
from unit.retrieval.conftest import NEW, OLD, STOPPED, Scattered, corpus

pytestmark = pytest.mark.real


def test_what_only_others_had_goes(store: Any, loaded: dict[str, str]) -> None:
    assert prune(store, [OLD, NEW]) == {loaded[STOPPED]: DROPPED}
    assert list_collections(store) == sorted([loaded[OLD], loaded[NEW]])
    assert prune(store, [OLD, NEW]) == {}
    with pytest.raises(SluiceError, match=r"r-22222222222: was not loaded .*did you mean 'r-222222222222'"):
        prune(store, ["r-22222222222"])
    assert list_collections(store) == sorted([loaded[OLD], loaded[NEW]])


def test_what_a_service_searches_stays(store: Any, stores: Stores, loaded: dict[str, str], tmp_path: Path) -> None:
    with open_retriever(tmp_path / OLD, Scattered(), stores, tmp_path) as retriever:
        assert retriever.search("Who is paged?", k=1)
        assert prune(store, [NEW]) == {loaded[STOPPED]: DROPPED, loaded[OLD]: HELD}
        assert retriever.search("Who is paged?", k=1)
    # The server notices the end of the service's connections a moment later.
    assert wait_until(lambda: prune(store, [NEW]) == {loaded[OLD]: DROPPED}, seconds=60)


def test_what_a_service_loaded_by_itself_stays_and_is_told(
    store: Any, build: Callable[..., Any], documents: list[Any], tmp_path: Path
) -> None:
    build(documents[:1], out=tmp_path / "own")
    own = ensure_collection(store, tmp_path / "own").collection
    build(documents, out=tmp_path / "new")
    load_release(store, tmp_path / "new", NEW)
    assert prune(store, [NEW]) == {own: UNRECORDED}
    assert own in list_collections(store)


@pytest.fixture
def collection(store: Any, spec: Any, tmp_path: Path) -> str:
    documents = corpus(30)
    documents[3] = documents[3].model_copy(update={"tenant": "acme"})
    documents[4] = documents[4].model_copy(update={"text": "One paragraph.\n\nAnother one."})
    build_index(documents[::-1], Scattered(), spec, ChunkerSettings(), tmp_path / "index")
    return ensure_collection(store, tmp_path / "index").collection


def test_a_whole_collection_has_no_fault(store: Any, collection: str) -> None:
    found = verify(store, collection)
    assert (found.chunks, found.faults) == (31, ())
    assert (found.recall, found.questions) == (1.0, 31)


def test_a_collection_with_a_vector_index(store: Any, spec: Any, tmp_path: Path) -> None:
    build_index(corpus(2200), Scattered(), spec, ChunkerSettings(), tmp_path / "index")
    info = ensure_collection(store, tmp_path / "index", VectorSettings(precision="half"))
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
def test_harm_is_found_and_named(store: Any, collection: str, harm: str, said: list[str]) -> None:
    store.execute(harm.replace("{}", collection))
    faults = verify(store, collection).faults
    for line in said:
        assert any(line in fault for fault in faults), (line, faults)


def test_a_collection_without_a_description_cannot_be_verified(store: Any, collection: str) -> None:
    store.execute(f"COMMENT ON TABLE {collection} IS NULL")
    with pytest.raises(SluiceError, match="loaded by older code"):
        verify(store, collection)


OLDER = {"vectors": {"precision": "single", "index": "binary", "oversampling": 20, "m": 16}}


@pytest.fixture
def info(build: Any, store: Any, tmp_path: Path) -> IndexInfo:
    build()
    return ensure_collection(store, tmp_path / "index")


def comment_of_older_code(store: Any, collection: str) -> None:
    found = describe(store, collection)
    assert found is not None
    text = json.dumps(json.loads(found.model_dump_json()) | OLDER)
    store.execute(psycopg.sql.SQL("COMMENT ON TABLE {} IS {}").format(psycopg.sql.Identifier(collection), text))


def test_one_of_another_form_is_not_searched_and_replaced_by_a_load(
    store: Any, info: IndexInfo, tmp_path: Path
) -> None:
    comment_of_older_code(store, info.collection)
    store.execute(f"DELETE FROM {info.collection}")
    with pytest.raises(SluiceError, match="loaded by older code") as raised:
        SearchStatements(store, info.collection)
    assert "sluice index load" in str(raised.value.remedy)
    ensure_collection(store, tmp_path / "index")
    assert verify(store, info.collection).faults == ()


def test_one_that_a_service_searches_is_not_replaced(
    store: Any, info: IndexInfo, database: str, tmp_path: Path
) -> None:
    comment_of_older_code(store, info.collection)
    with psycopg.connect(database, autocommit=True) as service:
        hold(service, info.collection)
        with pytest.raises(SluiceError, match="older code, and a service or another collection needs it"):
            ensure_collection(store, tmp_path / "index")
