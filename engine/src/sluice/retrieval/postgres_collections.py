"""Collections in PostgreSQL: content-addressed, each loaded in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from sluice.core.digests import canonical_json
from sluice.core.errors import SluiceError
from sluice.retrieval.chunking import Chunk, starts
from sluice.retrieval.collection_tables import (
    COLUMNS,
    PRECISIONS,
    TableDescription,
    create,
    describe,
    make_indexes,
    words_of,
)
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import IndexInfo, read_index
from sluice.retrieval.stores import VectorSettings

if TYPE_CHECKING:
    import psycopg

_TYPES = ("text", "text", "text", "text", "integer", "text", "bigint")  # of all columns but the last
_ITERATIVE_SCAN = (0, 8)  # the version of pgvector that brought it
LOADING = 7_265_811  # advisory lock: two services that start together load a collection once
_HELD = 7_265  # class of advisory locks: shared by the connections that search a collection


def ensure_collection(
    connection: psycopg.Connection[Any], folder: Path, vectors: VectorSettings | None = None
) -> IndexInfo:
    """Loads the index in `folder` unless its collection is already there. Readers never see half a collection.

    One of older code, in a form that this code does not search, is replaced. SluiceError when something needs it."""
    info, chunks, rows = read_index(folder)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOADING,))
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if describe(connection, info.collection) is None:
            if not drop(connection, info.collection):
                raise SluiceError(
                    f"{info.collection}: was loaded by older code, and a service or another collection needs it",
                    remedy="stop that service, or name another store in config/stores.yaml and load the release there",
                )
            _load(connection, TableDescription(index=info, vectors=vectors or VectorSettings()), chunks, rows)
    return info


def _load(
    connection: psycopg.Connection[Any], description: TableDescription, chunks: Sequence[Chunk], vectors: Vectors
) -> None:
    from pgvector.psycopg import register_vector

    tenants = any(chunk.tenant for chunk in chunks)
    if tenants:
        _require_iterative_scan(connection)
    create(connection, description)
    register_vector(connection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
        sql.Identifier(description.index.collection), sql.SQL(COLUMNS)
    )
    with connection.cursor().copy(statement) as copy:
        copy.set_types([*_TYPES, PRECISIONS[description.vectors.precision]])
        for row in _rows(chunks, vectors):
            copy.write_row(row)
    make_indexes(connection, description, len(chunks), tenants=tenants)


def _rows(chunks: Sequence[Chunk], vectors: Vectors) -> Iterator[Sequence[Any]]:
    """A row for each chunk, in the order of `COLUMNS`."""
    for chunk, start, content, vector in zip(chunks, starts(chunks), contents(chunks), vectors, strict=True):
        yield chunk.id, chunk.doc_id, chunk.title, chunk.text, start, chunk.tenant, content, vector


def contents(chunks: Sequence[Chunk]) -> list[int]:
    """64 bits for each chunk that say whether it is the same as another of its id."""
    found = []
    for chunk, start in zip(chunks, starts(chunks), strict=True):
        content = canonical_json([chunk.doc_id, chunk.title, chunk.text, start, chunk.tenant])
        found.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True))
    return found


def _require_iterative_scan(connection: psycopg.Connection[Any]) -> None:
    """Before pgvector 0.8 a filter only thins out what the vector index found: a tenant would find next to nothing."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = str(row[0]) if row else ""
    if tuple(int(part) for part in version.split(".")[:2]) < _ITERATIVE_SCAN:
        raise SluiceError(
            f"the store has pgvector {version}, documents with a tenant need 0.8 or newer",
            remedy="update it on the server, then: ALTER EXTENSION vector UPDATE",
        )


def list_collections(connection: psycopg.Connection[Any], *, newest_first: bool = False) -> list[str]:
    """The names of the collections in a store."""
    rows = connection.execute(
        r"SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname LIKE 'chunks\_%'"
        f" AND pg_table_is_visible(oid) ORDER BY {'oid DESC' if newest_first else 'relname'}"
    )
    return [str(row[0]) for row in rows.fetchall()]


def hold(connection: psycopg.Connection[Any], collection: str) -> None:
    """While this connection is open, `drop` does not drop the collection."""
    connection.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (_HELD, collection))


def drop(connection: psycopg.Connection[Any], collection: str) -> bool:
    """Drops a collection that is neither searched nor, in a store of older code, the base of another."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", (_HELD, collection)).fetchone()
    if row != (True,):
        return False
    view = sql.Identifier(collection.replace("chunks", "whole", 1))  # beside a difference, which older code made
    tables = sql.Identifier(collection), sql.Identifier(words_of(collection))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(*tables))
    except errors.DependentObjectsStillExist:
        return False
    return True
