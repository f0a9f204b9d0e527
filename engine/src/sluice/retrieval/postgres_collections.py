"""Collections in PostgreSQL: content-addressed, each loaded in one transaction and never changed afterwards.

A collection is one table, whose comment says what is in it, and its full-text data another, so that ranking by words
reads no vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql
from pydantic import ValidationError

from sluice.core.digests import canonical_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import Chunk, IndexInfo, read_index, starts
from sluice.retrieval.stores import VectorSettings

if TYPE_CHECKING:
    import psycopg


EXACT_BELOW = 2000  # chunks; up to here looking at every vector takes a millisecond, is exact and always the same
COLUMNS = "id, doc_id, title, text, start, tenant, content, embedding"
PRECISIONS = {"single": "vector", "half": "halfvec"}  # to the type of a vector
_MEMORY = (64, 1024)  # MiB, least and most, for making a vector index: in memory it takes a fraction of the time


class TableDescription(Settings):
    """The comment of a collection's table."""

    index: IndexInfo
    vectors: VectorSettings


def describe(connection: psycopg.Connection[Any], collection: str) -> TableDescription | None:
    """Return the table's comment, if it is one of this code."""
    row = connection.execute("SELECT obj_description(to_regclass(%s))", (collection,)).fetchone()
    try:
        return TableDescription.model_validate_json(row[0]) if row and row[0] else None
    except ValidationError:
        return None


def require_description(connection: psycopg.Connection[Any], collection: str) -> TableDescription:
    found = describe(connection, collection)
    if found is None:
        if connection.execute("SELECT to_regclass(%s)", (collection,)).fetchone() == (None,):
            raise errors.UndefinedTable(collection)
        raise SluiceError(
            f"{collection}: was loaded by older code, in a form that this code does not search",
            remedy="load its release again with this code: `sluice index load`",
        )
    return found


def vector_indexed(connection: psycopg.Connection[Any], collection: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE a.amname = 'hnsw' AND i.indrelid = to_regclass(%s))",
        (collection,),
    ).fetchone()
    return row == (True,)


def words_of(collection: str) -> str:
    """Return the name of the table with a collection's full text."""
    return collection.replace("chunks", "words", 1)


def _create(connection: psycopg.Connection[Any], description: TableDescription) -> None:
    table = sql.Identifier(description.index.collection)
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} (id text PRIMARY KEY, doc_id text NOT NULL, title text NOT NULL, text text NOT NULL,"
            " start integer NOT NULL, tenant text, content bigint NOT NULL, embedding {}({}) NOT NULL)"
            # Vectors stay in their rows: fetched one by one from beside the table they take longer than the search.
            " WITH (toast_tuple_target = 8160)"
        ).format(
            table,
            sql.SQL(PRECISIONS[description.vectors.precision]),
            sql.Literal(description.index.dimension),
        )
    )
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(description.model_dump_json())))


def _make_indexes(
    connection: psycopg.Connection[Any], description: TableDescription, rows: int, *, tenants: bool
) -> None:
    table = sql.Identifier(description.index.collection)
    words = sql.Identifier(words_of(description.index.collection))
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} AS SELECT id, doc_id, tenant, to_tsvector('english', title || ' ' || text) AS words"
            " FROM {}"
        ).format(words, table)
    )
    connection.execute(sql.SQL("CREATE INDEX ON {} USING gin (words)").format(words))
    if tenants:
        connection.execute(sql.SQL("CREATE INDEX ON {} (tenant)").format(table))
    if rows >= EXACT_BELOW:
        _make_vector_index(connection, description, rows)
    connection.execute(sql.SQL("ANALYZE {}, {}").format(table, words))


def _make_vector_index(connection: psycopg.Connection[Any], description: TableDescription, rows: int) -> None:
    settings = description.vectors
    width = description.index.dimension * (4 if settings.precision == "single" else 2)  # bytes
    size = rows * (width + 32 * settings.m) * 1.5 / 2**20
    least, most = _MEMORY
    connection.execute(f"SET LOCAL maintenance_work_mem = '{min(most, max(least, round(size)))}MB'")
    statement = sql.SQL("CREATE INDEX ON {} USING hnsw (embedding {}) WITH (m = {}, ef_construction = {})").format(
        sql.Identifier(description.index.collection),
        sql.SQL(f"{PRECISIONS[settings.precision]}_cosine_ops"),
        sql.Literal(settings.m),
        sql.Literal(settings.ef_construction),
    )
    try:
        with connection.transaction():
            connection.execute(statement)
    except (errors.DiskFull, errors.OutOfMemory):  # a container may have too little shared memory for several workers
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        connection.execute(statement)


_TYPES = ("text", "text", "text", "text", "integer", "text", "bigint")  # of all columns but the last
_ITERATIVE_SCAN = (0, 8)  # the version of pgvector that brought it
LOADING = 7_265_811  # advisory lock: two services that start together load a collection once
_HELD = 7_265  # class of advisory locks: shared by the connections that search a collection


def ensure_collection(
    connection: psycopg.Connection[Any], folder: Path, vectors: VectorSettings | None = None
) -> IndexInfo:
    """Load the index in `folder` unless its collection is there; replace one that only older code searched."""
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


def load_release(
    connection: psycopg.Connection[Any], folder: Path, release: str, vectors: VectorSettings | None = None
) -> IndexInfo:
    """Load an index beside what is there and record it as that of a release."""
    with connection.transaction():
        info = ensure_collection(connection, folder, vectors)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS sluice_releases"
            " (id text PRIMARY KEY, collection text NOT NULL, loaded timestamptz NOT NULL DEFAULT now())"
        )
        connection.execute(
            "INSERT INTO sluice_releases (id, collection) VALUES (%s, %s)"
            " ON CONFLICT (id) DO UPDATE SET collection = excluded.collection, loaded = now()",
            (release, info.collection),
        )
    return info


def collections_of_releases(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the collection of each release that was loaded into the store, by its id."""
    if connection.execute("SELECT to_regclass('sluice_releases')").fetchone() == (None,):
        return {}
    return {str(row[0]): str(row[1]) for row in connection.execute("SELECT id, collection FROM sluice_releases")}


def _load(
    connection: psycopg.Connection[Any], description: TableDescription, chunks: Sequence[Chunk], vectors: Vectors
) -> None:
    from pgvector.psycopg import register_vector

    tenants = any(chunk.tenant for chunk in chunks)
    if tenants:
        _require_iterative_scan(connection)
    _create(connection, description)
    register_vector(connection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
        sql.Identifier(description.index.collection), sql.SQL(COLUMNS)
    )
    with connection.cursor().copy(statement) as copy:
        copy.set_types([*_TYPES, PRECISIONS[description.vectors.precision]])
        for chunk, start, content, vector in zip(chunks, starts(chunks), contents(chunks), vectors, strict=True):
            row = (chunk.id, chunk.doc_id, chunk.title, chunk.text, start, chunk.tenant, content, vector)
            copy.write_row(row)
    _make_indexes(connection, description, len(chunks), tenants=tenants)


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


def list_collections(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute(
        r"SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname LIKE 'chunks\_%'"
        " AND pg_table_is_visible(oid) ORDER BY relname"
    )
    return [str(row[0]) for row in rows.fetchall()]


def hold(connection: psycopg.Connection[Any], collection: str) -> None:
    """Keep `drop` from dropping the collection while this connection is open."""
    connection.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (_HELD, collection))


def drop(connection: psycopg.Connection[Any], collection: str) -> bool:
    """Drop a collection that nobody searches; return whether it is gone."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", (_HELD, collection)).fetchone()
    if row != (True,):
        return False
    tables = sql.Identifier(collection), sql.Identifier(words_of(collection))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(*tables))
    return True
