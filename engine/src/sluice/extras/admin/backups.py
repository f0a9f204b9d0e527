"""Backs up the collections of a store, with the releases and names that use them, as files; and restores them.

A collection can always be loaded again from the index of its release. A backup also brings those that were never
released, the names, and the record of releases, and it needs no embedder.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql
from pydantic import ValidationError

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.retrieval.collection_tables import COLUMNS, TableDescription, create, describe, make_indexes
from sluice.retrieval.postgres_collections import LOADING, list_collections
from sluice.retrieval.store_schema import has_schema, require_current
from sluice.retrieval.tenant_partitions import tenants_of

if TYPE_CHECKING:
    import psycopg

_BLOCK = 1 << 20


class CollectionBackup(Settings):
    """One collection: its rows are in `<collection>.rows` (COPY's binary format), `rows` of them. `partitions`: whose,
    where it is cut by tenant."""

    description: TableDescription
    rows: int
    sha256: str
    tenants: bool
    partitions: tuple[str | None, ...] = ()


class BackupManifest(Settings):
    """backup.json. `releases`: id and collection. `names`: name, collection and the one before. `left_out`: collections
    of older code, which do not say what they hold."""

    collections: tuple[CollectionBackup, ...]
    releases: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str, str | None], ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestoreResult:
    """Collections that were loaded, and those that were there already. `names`: that were set; others stood for
    something already, and still do."""

    loaded: tuple[str, ...]
    there: tuple[str, ...]
    names: tuple[str, ...]


def back_up(connection: psycopg.Connection[Any], folder: Path) -> BackupManifest:
    """Writes the store as it is at this moment to `folder`, whole or not at all. Searches and loads go on meanwhile."""
    if folder.exists():
        raise SluiceError(f"{folder}: is there already", remedy="name a folder that is not there yet")
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        names = list_collections(connection)
        described = {name: describe(connection, name) for name in names}
        saved = [_save(connection, found, draft) for found in described.values() if found]
        with_schema = has_schema(connection)
        backup = BackupManifest(
            collections=tuple(saved),
            releases=_rows(connection, "SELECT id, collection FROM sluice_releases ORDER BY id") if with_schema else (),
            names=_rows(connection, "SELECT name, collection, previous FROM sluice_names ORDER BY name")
            if with_schema
            else (),
            left_out=tuple(name for name, found in described.items() if found is None),
        )
    write_json(draft / "backup.json", backup.model_dump(mode="json"))
    draft.replace(folder)
    return backup


def restore(connection: psycopg.Connection[Any], folder: Path) -> RestoreResult:
    """Loads what the store does not have; nothing that is there is changed. Killed on the way, it can be run again."""
    require_current(connection)
    backup = read_backup(folder)
    loaded: list[str] = []
    there: list[str] = []
    for saved in sorted(backup.collections, key=lambda each: each.description.base is not None):
        name = saved.description.index.collection
        (loaded if _load(connection, saved, folder) else there).append(name)
    connection.cursor().executemany(
        "INSERT INTO sluice_releases (id, collection) VALUES (%s, %s) ON CONFLICT DO NOTHING", backup.releases
    )
    statement = "INSERT INTO sluice_names (name, collection, previous) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
    done = [name[0] for name in backup.names if connection.execute(statement, name).rowcount]
    return RestoreResult(tuple(loaded), tuple(there), tuple(done))


def read_backup(folder: Path) -> BackupManifest:
    """Its files checked against backup.json. SluiceError names one that does not match."""
    try:
        backup = BackupManifest.model_validate_json((folder / "backup.json").read_bytes())
    except FileNotFoundError:
        read_json(folder / "backup.json")  # says so
        raise
    except ValidationError as error:
        raise SluiceError(f"{folder / 'backup.json'}: not a backup: {error.errors()[0]['msg']}") from None
    for saved in backup.collections:
        path = _path(folder, saved.description)
        if not path.is_file() or digest_of_file(path) != saved.sha256:
            raise SluiceError(f"{path}: does not match backup.json; nothing was restored", remedy="use another backup")
    return backup


def _save(connection: psycopg.Connection[Any], description: TableDescription, folder: Path) -> CollectionBackup:
    table = sql.Identifier(description.index.collection)
    counted = connection.execute(sql.SQL("SELECT count(*), count(tenant) FROM {}").format(table)).fetchone()
    rows, tenants = counted or (0, 0)
    sha = hashlib.sha256()
    # A table that is cut gives its rows to a query alone.
    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT BINARY)").format(sql.SQL(COLUMNS), table)
    with _path(folder, description).open("wb") as stream, connection.cursor().copy(statement) as copy:
        for block in copy:
            sha.update(block)
            stream.write(block)
    return CollectionBackup(
        description=description,
        rows=rows,
        sha256=sha.hexdigest(),
        tenants=tenants > 0,
        partitions=tuple(tenants_of(connection, description.index.collection)),
    )


def _load(connection: psycopg.Connection[Any], saved: CollectionBackup, folder: Path) -> bool:
    description = saved.description
    table = sql.Identifier(description.index.collection)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOADING,))
        if description.index.collection in list_collections(connection):
            return False
        create(connection, description, saved.partitions)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, sql.SQL(COLUMNS))
        with connection.cursor().copy(statement) as copy:
            for block in _blocks(_path(folder, description)):
                copy.write(block)
        make_indexes(connection, description, saved.rows, tenants=saved.tenants)
    return True


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block


def _path(folder: Path, description: TableDescription) -> Path:
    return folder / f"{description.index.collection}.rows"


def _rows(connection: psycopg.Connection[Any], statement: str) -> tuple[Any, ...]:
    return tuple(connection.execute(statement.encode()).fetchall())
