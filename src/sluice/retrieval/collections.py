"""Collections in PostgreSQL: one content-addressed table for each index, loaded in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

from sluice.retrieval.index import IndexInfo, read_index

if TYPE_CHECKING:
    import psycopg

_LOCK = 7_265_811  # advisory lock: two services that start together load a collection once


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
                " embedding vector({}) NOT NULL, words tsvector NOT NULL"
                " GENERATED ALWAYS AS (to_tsvector('english', title || ' ' || text)) STORED)"
            ).format(table, sql.Literal(info.dimension))
        )
        statement = sql.SQL("COPY {} (id, doc_id, title, text, embedding) FROM STDIN WITH (FORMAT BINARY)").format(
            table
        )
        with connection.cursor().copy(statement) as copy:
            copy.set_types(["text", "text", "text", "text", "vector"])
            for chunk, vector in zip(chunks, vectors, strict=True):
                copy.write_row((chunk.id, chunk.doc_id, chunk.title, chunk.text, vector))
        connection.execute(sql.SQL("CREATE INDEX ON {} USING hnsw (embedding vector_cosine_ops)").format(table))
        connection.execute(sql.SQL("CREATE INDEX ON {} USING gin (words)").format(table))
    connection.execute(sql.SQL("ANALYZE {}").format(table))
    return info


def list_collections(connection: psycopg.Connection) -> list[str]:
    """Names of the collections in the store, sorted."""
    rows = connection.execute(
        r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'chunks\_%' ORDER BY 1"
    )
    return [str(row[0]) for row in rows.fetchall()]
