"""Collections in PostgreSQL: one content-addressed table for each index, loaded in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

from sluice.core.errors import SluiceError
from sluice.retrieval.chunking import starts
from sluice.retrieval.index import IndexInfo, read_index

if TYPE_CHECKING:
    import psycopg

_ITERATIVE_SCAN = (0, 8)  # the version of pgvector that brought it
_EXACT_BELOW = 2000  # chunks; up to here looking at every vector takes a millisecond, is exact and always the same
_LOCK = 7_265_811  # advisory lock: two services that start together load a collection once
_HELD = 7_265  # class of advisory locks: shared by the connections that search a collection


def ensure_collection(connection: psycopg.Connection, folder: Path) -> IndexInfo:
    """Loads the index in `folder` unless its collection is already there. Readers never see half a collection."""
    from pgvector.psycopg import register_vector

    info, chunks, vectors = read_index(folder)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if connection.execute("SELECT to_regclass(%s)", (info.collection,)).fetchone() != (None,):
            return info
        register_vector(connection)
        table = sql.Identifier(info.collection)
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} (id text PRIMARY KEY, doc_id text NOT NULL, title text NOT NULL, text text NOT NULL,"
                " start integer NOT NULL, tenant text, embedding vector({}) NOT NULL, words tsvector NOT NULL"
                " GENERATED ALWAYS AS (to_tsvector('english', title || ' ' || text)) STORED)"
                # Vectors stay in their rows: fetched one by one from beside the table they take longer than the search.
                " WITH (toast_tuple_target = 8160)"
            ).format(table, sql.Literal(info.dimension))
        )
        statement = sql.SQL(
            "COPY {} (id, doc_id, title, text, start, tenant, embedding) FROM STDIN WITH (FORMAT BINARY)"
        ).format(table)
        with connection.cursor().copy(statement) as copy:
            copy.set_types(["text", "text", "text", "text", "int4", "text", "vector"])
            for chunk, start, vector in zip(chunks, starts(chunks), vectors, strict=True):
                copy.write_row((chunk.id, chunk.doc_id, chunk.title, chunk.text, start, chunk.tenant, vector))
        if info.chunks >= _EXACT_BELOW:
            connection.execute(sql.SQL("CREATE INDEX ON {} USING hnsw (embedding vector_cosine_ops)").format(table))
        connection.execute(sql.SQL("CREATE INDEX ON {} USING gin (words)").format(table))
        if any(chunk.tenant for chunk in chunks):
            _require_iterative_scan(connection)
            connection.execute(sql.SQL("CREATE INDEX ON {} (tenant)").format(table))
    connection.execute(sql.SQL("ANALYZE {}").format(table))
    return info


def _require_iterative_scan(connection: psycopg.Connection) -> None:
    """Before pgvector 0.8 a filter only thins out what the vector index found: a tenant would find next to nothing."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = str(row[0]) if row else ""
    if tuple(int(part) for part in version.split(".")[:2]) < _ITERATIVE_SCAN:
        raise SluiceError(
            f"the store has pgvector {version}, documents with a tenant need 0.8 or newer",
            remedy="update it on the server, then: ALTER EXTENSION vector UPDATE",
        )


def list_collections(connection: psycopg.Connection) -> list[str]:
    """Names of the collections in the store, sorted."""
    rows = connection.execute(
        r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'chunks\_%' ORDER BY 1"
    )
    return [str(row[0]) for row in rows.fetchall()]


def hold(connection: psycopg.Connection, collection: str) -> None:
    """For as long as this connection lives nobody drops the collection with `drop`."""
    connection.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (_HELD, collection))


def drop(connection: psycopg.Connection, collection: str) -> bool:
    """Drops a collection that nobody holds, within the caller's transaction; whether it did."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", (_HELD, collection)).fetchone()
    if row != (True,):
        return False
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(collection)))
    return True
