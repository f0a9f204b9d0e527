"""Which release was loaded with what, and loading again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.errors import SluiceError
from sluice.retrieval.postgres_collections import list_collections
from sluice.retrieval.store_schema import load_release

from .test_store_schema import run

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
    return {release: load_release(store, tmp_path / release, release).collection for release in (OLD, NEW, STOPPED)}


def test_loading_again_changes_nothing(store: Any, loaded: dict[str, str], tmp_path: Path) -> None:
    before = store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall()
    load_release(store, tmp_path / OLD, OLD)
    assert store.execute("SELECT id, collection FROM sluice_releases ORDER BY 1").fetchall() == before
    assert list_collections(store) == sorted(loaded.values())


def test_a_store_without_its_schema_is_not_loaded(database: str, build: Callable[..., Any], tmp_path: Path) -> None:
    build()
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(SluiceError, match="schema is not there yet, this code needs 0002") as caught:
            load_release(connection, tmp_path / "index", OLD)
        assert "sluice index migrate" in str(caught.value)
        assert list_collections(connection) == []
