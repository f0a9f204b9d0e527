# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""Which collections go when only some releases are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.extras.admin.collections import prune
from sluice.retrieval.postgres import open_retriever
from sluice.retrieval.postgres_collections import ensure_collection, list_collections
from sluice.retrieval.store_schema import load_release
from unit.retrieval.conftest import FakeEmbedder
from unit.retrieval.test_load_release import NEW, OLD, STOPPED, loaded, store  # noqa: F401 - fixtures
from unit.retrieval.test_store_schema import STORES

pytestmark = pytest.mark.real


def test_what_only_others_had_goes(store: Any, loaded: dict[str, str]) -> None:
    done = prune(store, [OLD, NEW])
    assert (done.dropped, done.held) == ((loaded[STOPPED],), ())
    assert list_collections(store) == sorted([loaded[OLD], loaded[NEW]])
    assert prune(store, [OLD, NEW]).dropped == ()


def test_what_two_releases_share_stays_for_one_of_them(store: Any, loaded: dict[str, str], tmp_path: Path) -> None:
    load_release(store, tmp_path / OLD, "r-444444444444")
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
    load_release(store, tmp_path / "new", NEW)
    assert prune(store, [NEW]).unrecorded == (own,)
    assert own in list_collections(store)


def test_a_release_whose_collection_was_dropped_loads_it_again(
    store: Any, loaded: dict[str, str], tmp_path: Path
) -> None:
    prune(store, [NEW])
    assert load_release(store, tmp_path / OLD, OLD).collection == loaded[OLD]
    assert loaded[OLD] in list_collections(store)
