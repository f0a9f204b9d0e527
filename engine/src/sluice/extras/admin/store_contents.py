"""Lists the contents of a store: collections, the releases that use them, and disk space."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from psycopg import sql

from sluice.extras.admin.collection_needs import needs
from sluice.retrieval.postgres_collections import describe, list_collections, vector_indexed, words_of

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class CollectionInfo:
    """`rows`: of its table. None: it does not say (older code). `table_bytes`: with what lies beside the table.
    `vector_index`: without one every vector is looked at."""

    collection: str
    documents: int | None
    chunks: int | None
    rows: int
    precision: str | None
    dimension: int | None
    vector_index: bool
    table_bytes: int
    index_bytes: int
    needed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def listed(connection: psycopg.Connection[Any]) -> list[CollectionInfo]:
    """All collections, by name."""
    return [_look(connection, name) for name in list_collections(connection)]


def _look(connection: psycopg.Connection[Any], name: str) -> CollectionInfo:
    found = describe(connection, name)
    table = sql.Identifier(name)
    rows = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    sizes = connection.execute(
        "SELECT sum(pg_table_size(oid)), sum(pg_indexes_size(oid)) FROM pg_class"
        " WHERE relname IN (%s, %s) AND pg_table_is_visible(oid)",
        (name, words_of(name)),
    ).fetchone()
    table_bytes, index_bytes = sizes or (0, 0)
    return CollectionInfo(
        collection=name,
        documents=found.index.documents if found else None,
        chunks=found.index.chunks if found else None,
        rows=rows[0] if rows else 0,
        precision=found.vectors.precision if found else None,
        dimension=found.index.dimension if found else None,
        vector_index=vector_indexed(connection, name),
        table_bytes=int(table_bytes),
        index_bytes=int(index_bytes),
        needed=tuple(needs(connection, name)),
    )


@dataclass(frozen=True)
class StoreStats:
    """Of the server and the database that hold a store. `memory`: what PostgreSQL keeps of its files in memory."""

    postgresql: str
    pgvector: str
    database_bytes: int
    memory: str
    connections: int
    most_connections: int
    collections: tuple[CollectionInfo, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def stats(connection: psycopg.Connection[Any]) -> StoreStats:
    row = connection.execute(
        "SELECT current_setting('server_version'),"
        " coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), ''),"
        " pg_database_size(current_database()), current_setting('shared_buffers'),"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections')::int"
    ).fetchone()
    assert row is not None
    return replace(StoreStats(*row), collections=tuple(listed(connection)))
