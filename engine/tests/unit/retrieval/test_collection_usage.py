"""Which release was loaded with what, and what may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.retrieval.collection_usage import load, prune
from sluice.retrieval.postgres import open_retriever
from sluice.retrieval.postgres_collections import ensure_collection, list_collections

from .conftest import FakeEmbedder
from .test_store_schema import STORES, run

pytestmark = pytest.mark.real
OLD, NEW, STOPPED = "r-111111111111", "r-222222222222", "r-333333333333"


@pytest.fixture
def store(database: str) -> Any:
    run(database)
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def loaded(store: Any, build: Callable[..., Any], documents: list[Any], tmp_path: Path) -> dict[str, str]:
    """Three releases, each with an index of its own; release to collection."""
    for number, release in enumerate((OLD, NEW, STOPPED)):
        build(documents[number:], out=tmp_path / release)
    return {release: load(store, tmp_path / release, release).collection for release in (OLD, NEW, STOPPED)}


def test_loading_again_changes_nothing(store: Any, loaded: dict[str, str], tmp_path: Path) -> None:
    before = store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall()
    load(store, tmp_path / OLD, OLD)
    assert store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall() == before
    assert list_collections(store) == sorted(loaded.values())


def test_a_store_without_its_schema_is_not_loaded(database: str, build: Callable[..., Any], tmp_path: Path) -> None:
    build()
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(SluiceError, match="schema is not there yet, this code needs 0003") as caught:
            load(connection, tmp_path / "index", OLD)
        assert "sluice index migrate" in str(caught.value)
        assert list_collections(connection) == []


def test_what_only_others_had_goes(store: Any, loaded: dict[str, str]) -> None:
    done = prune(store, [OLD, NEW])
    assert (done.dropped, done.held) == ((loaded[STOPPED],), ())
    assert list_collections(store) == sorted([loaded[OLD], loaded[NEW]])
    assert prune(store, [OLD, NEW]).dropped == ()


def test_what_two_releases_share_stays_for_one_of_them(store: Any, loaded: dict[str, str], tmp_path: Path) -> None:
    load(store, tmp_path / OLD, "r-444444444444")
    assert loaded[OLD] not in prune(store, ["r-444444444444"]).dropped


def test_a_misspelt_release_drops_nothing(store: Any, loaded: dict[str, str]) -> None:
    with pytest.raises(SluiceError, match=r"r-22222222222: was not loaded .*did you mean 'r-222222222222'"):
        prune(store, ["r-22222222222"])
    assert list_collections(store) == sorted(loaded.values())


def test_what_a_service_searches_stays(
    store: Any,
    database: str,
    loaded: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHEMA_TEST_STORE", database)
    with open_retriever(tmp_path / OLD, FakeEmbedder(), STORES, tmp_path) as retriever:  # type: ignore[arg-type]
        assert retriever.search("Who is paged?", k=1)
        done = prune(store, [NEW])
        assert (done.dropped, done.held) == ((loaded[STOPPED],), (loaded[OLD],))
        assert retriever.search("Who is paged?", k=1)
    # The server notices the end of the service's connections a moment later.
    assert wait_until(lambda: prune(store, [NEW]).dropped == (loaded[OLD],), seconds=60)


def test_what_a_service_loaded_by_itself_stays_and_is_told(
    store: Any, build: Callable[..., Any], documents: list[Any], tmp_path: Path
) -> None:
    build(documents[:1], out=tmp_path / "own")
    own = ensure_collection(store, tmp_path / "own").collection
    build(documents, out=tmp_path / "new")
    load(store, tmp_path / "new", NEW)
    assert prune(store, [NEW]).unrecorded == (own,)
    assert own in list_collections(store)


def test_a_release_whose_collection_was_dropped_loads_it_again(
    store: Any, loaded: dict[str, str], tmp_path: Path
) -> None:
    prune(store, [NEW])
    assert load(store, tmp_path / OLD, OLD).collection == loaded[OLD]
    assert loaded[OLD] in list_collections(store)
