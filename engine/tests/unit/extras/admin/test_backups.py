from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.extras.admin.backups import back_up, read_backup, restore
from sluice.extras.admin.collection_names import switch
from sluice.extras.admin.verify_collection import verify
from sluice.retrieval.collection_tables import describe
from sluice.retrieval.collection_usage import load, named
from sluice.retrieval.postgres_collections import list_collections
from sluice.retrieval.stores import VectorSettings
from unit.extras.admin.test_differences import indexes  # noqa: F401 - a fixture
from unit.retrieval.test_store_schema import run

pytestmark = pytest.mark.real
_NUMBERS = itertools.count()


@pytest.fixture
def store(database: str) -> Iterator[Any]:
    run(database)
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(address: str) -> Iterator[Any]:
    """Another store, with its schema, empty."""
    name = f"other_{next(_NUMBERS)}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        there = psycopg.conninfo.make_conninfo(address, dbname=name)
        run(there)
        with psycopg.connect(there, autocommit=True) as opened:
            yield opened
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def full(store: Any, indexes: Path) -> list[str]:  # noqa: F811
    """A whole collection and a difference from it, each of a release; `live` is the second."""
    made = [load(store, indexes / name, f"r-{name}").collection for name in ("first", "later")]
    for collection in made:
        switch(store, "live", collection)
    return made


def test_there_and_back(store: Any, other: Any, full: list[str], tmp_path: Path) -> None:
    done = back_up(store, tmp_path / "backup")
    assert ([each.rows for each in done.collections], done.left_out) == (
        [2200, 6] if full == sorted(full) else [6, 2200],
        (),
    )
    restored = restore(other, tmp_path / "backup")
    assert (restored.loaded, restored.there, restored.names) == (tuple(full), (), ("live",))
    assert describe(other, full[1]) == describe(store, full[1])
    assert named(other) == named(store)
    for collection in full:
        assert verify(other, collection) == verify(store, collection)
    again = restore(other, tmp_path / "backup")
    assert (again.loaded, again.there, again.names) == ((), tuple(full), ())


def test_a_restore_that_stopped_halfway_goes_on(
    store: Any, other: Any, full: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sluice.extras.admin import backups

    back_up(store, tmp_path / "backup")
    create = backups.create

    def stop(connection: Any, description: Any, tenants: Any) -> None:
        create(connection, description, tenants)
        if description.base:
            raise KeyboardInterrupt

    monkeypatch.setattr(backups, "create", stop)
    with pytest.raises(KeyboardInterrupt):
        restore(other, tmp_path / "backup")
    assert list_collections(other) == full[:1]
    monkeypatch.undo()
    assert restore(other, tmp_path / "backup").loaded == (full[1],)


def test_what_is_there_stays(store: Any, full: list[str], tmp_path: Path) -> None:
    back_up(store, tmp_path / "backup")
    switch(store, "live", full[0])
    assert restore(store, tmp_path / "backup").names == ()
    assert named(store)[full[0]] == ["live"]


def test_a_changed_file_is_refused(store: Any, other: Any, full: list[str], tmp_path: Path) -> None:
    back_up(store, tmp_path / "backup")
    path = tmp_path / "backup" / f"{full[1]}.rows"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SluiceError, match=rf"{full[1]}\.rows: does not match backup\.json; nothing was restored"):
        restore(other, tmp_path / "backup")
    assert list_collections(other) == []


def test_what_is_no_backup_and_what_is_there_already(store: Any, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"backup\.json: no such file"):
        read_backup(tmp_path)
    (tmp_path / "backup.json").write_text("{}")
    with pytest.raises(SluiceError, match="not a backup"):
        read_backup(tmp_path)
    with pytest.raises(SluiceError, match="is there already"):
        back_up(store, tmp_path)


def test_a_store_without_a_schema_and_tables_of_older_code(
    store: Any, full: list[str], database: str, tmp_path: Path
) -> None:
    store.execute(f"COMMENT ON TABLE {full[1]} IS NULL")
    run(database, to="base")
    done = back_up(store, tmp_path / "backup")
    assert (done.left_out, done.names, done.releases) == ((full[1],), (), ())
    assert read_json(tmp_path / "backup" / "backup.json")["left_out"] == [full[1]]
    assert describe(store, full[0]).vectors == VectorSettings()
    with pytest.raises(SluiceError, match="this code needs"):
        restore(store, tmp_path / "backup")
