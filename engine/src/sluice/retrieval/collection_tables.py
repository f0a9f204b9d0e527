"""The PostgreSQL tables of a collection.

A full collection is one table, and its full-text data is another, so that ranking by words reads no vectors; the second
is built from the first in one pass, by several workers.

A collection that differs little from an existing one stores only the difference: its own rows replace those of the
other with the same id; a row without a vector marks a deleted chunk. A view shows the full collection, and while it
exists PostgreSQL does not drop the other's table.

Either may be cut into partitions by tenant (`tenant_partitions.py`).

A table's comment says what is in it (`TableDescription`), so that a store explains itself. A table never changes after
the transaction that made it, except that a tenant may be dropped from a partitioned collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql
from pydantic import Field, ValidationError

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.stores import PartitionBy, VectorSettings
from sluice.retrieval.tenant_partitions import create_partitions, for_values, partition_of, tenants_of

if TYPE_CHECKING:
    import psycopg

EXACT_BELOW = 2000  # chunks; up to here looking at every vector takes a millisecond, is exact and always the same
COLUMNS = "id, doc_id, title, text, start, tenant, content, embedding"
PRECISIONS = {"single": "vector", "half": "halfvec"}  # to the type of a vector
_MEMORY = (64, 1024)  # MiB, least and most, for making a vector index: in memory it takes a fraction of the time
_BITS = "bit_hamming_ops"


class TableDescription(Settings):
    """The comment of a collection's table. `base`: the collection that it is the difference from. `dropped`: tenants
    whose partitions were dropped, and how many chunks they had."""

    index: IndexInfo
    vectors: VectorSettings
    base: str | None = None
    partition_by: PartitionBy = None
    dropped: dict[str, int] = Field(default_factory=dict)


def describe(connection: psycopg.Connection[Any], collection: str) -> TableDescription | None:
    """Reads a table's comment.

    Args:
        connection: to the store.
        collection: its name.

    Returns:
        None for a table of older code, which says nothing about itself.
    """
    row = connection.execute("SELECT obj_description(to_regclass(%s))", (collection,)).fetchone()
    try:
        return TableDescription.model_validate_json(row[0]) if row and row[0] else None
    except ValidationError:
        return None


def require_description(connection: psycopg.Connection[Any], collection: str) -> TableDescription:
    """Reads a table's comment, which must be there.

    Args:
        connection: to the store.
        collection: its name.

    Raises:
        SluiceError: the table is of older code; UndefinedTable: there is no collection.
    """
    found = describe(connection, collection)
    if found is None:
        if connection.execute("SELECT to_regclass(%s)", (collection,)).fetchone() == (None,):
            raise errors.UndefinedTable(collection)
        raise SluiceError(
            f"{collection}: was loaded by older code, which did not write down what it holds",
            remedy="load its release again with this code: `sluice index load`",
        )
    return found


def view_of(description: TableDescription) -> str:
    """Where the collection is seen whole: its table, or the view beside it."""
    name = description.index.collection
    return name.replace("chunks", "whole", 1) if description.base else name


def vector_indexed(connection: psycopg.Connection[Any], tables: Collection[str | None]) -> frozenset[str]:
    """The tables that have a vector index, or of which a partition has one.

    Args:
        connection: to the store.
        tables: names of those that are looked at, as a collection's own and its base.
    """
    rows = connection.execute(
        "SELECT t.name FROM unnest(%s::text[]) AS t(name) WHERE EXISTS"
        " (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE a.amname = 'hnsw' AND i.indrelid IN"
        " (SELECT to_regclass(t.name) UNION SELECT relid FROM pg_partition_tree(to_regclass(t.name))))",
        (list(tables),),
    )
    return frozenset(str(row[0]) for row in rows)


def words_of(collection: str) -> str:
    """The table of a collection's full text."""
    return collection.replace("chunks", "words", 1)


def bits(vector: str, dimension: int) -> str:
    """One bit for each number of the SQL expression `vector`: whether it is above 0."""
    return f"binary_quantize({vector})::bit({dimension})"


def create(
    connection: psycopg.Connection[Any], description: TableDescription, tenants: Iterable[str | None] = ()
) -> None:
    """Creates the empty table, with its comment, and the view where it holds a difference."""
    table = sql.Identifier(description.index.collection)
    cut = description.partition_by is not None
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} (id text{}, doc_id text NOT NULL, title text NOT NULL, text text NOT NULL,"
            " start integer NOT NULL, tenant text, content bigint NOT NULL, embedding {}({}){}) {}"
        ).format(
            table,
            sql.SQL("" if cut else " PRIMARY KEY"),
            sql.SQL(PRECISIONS[description.vectors.precision]),
            sql.Literal(description.index.dimension),
            sql.SQL("" if description.base else " NOT NULL"),
            # Vectors stay in their rows: fetched one by one from beside the table they take longer than the search.
            sql.SQL("PARTITION BY LIST (tenant)" if cut else "WITH (toast_tuple_target = 8160)"),
        )
    )
    if cut:
        create_partitions(connection, description.index.collection, tenants)
    say(connection, description)
    if description.base:
        connection.execute(
            sql.SQL(
                "CREATE VIEW {view} AS SELECT {columns} FROM {base} b"
                " WHERE NOT EXISTS (SELECT FROM {table} d WHERE d.id = b.id)"
                " UNION ALL SELECT {columns} FROM {table} WHERE embedding IS NOT NULL"
            ).format(
                view=sql.Identifier(view_of(description)),
                columns=sql.SQL(COLUMNS),
                base=sql.Identifier(description.base),
                table=table,
            )
        )


def say(connection: psycopg.Connection[Any], description: TableDescription) -> None:
    """Writes the table's comment.

    Args:
        connection: to the store, in a transaction.
        description: of the collection.
    """
    connection.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(
            sql.Identifier(description.index.collection), sql.Literal(description.model_dump_json())
        )
    )


def make_indexes(
    connection: psycopg.Connection[Any], description: TableDescription, rows: int, *, tenants: bool
) -> None:
    """Makes the indexes after the rows, which takes a fraction of the time.

    Args:
        connection: to the store, in a transaction.
        description: of the collection; where it is cut each partition has its own, and the others count for nothing.
        rows: how many its table has.
        tenants: whether rows belong to tenants.
    """
    collection = description.index.collection
    words = words_of(collection)
    if description.partition_by:
        _make_partitions_of_words(connection, collection)
    else:
        _make_words(connection, words, collection)
    connection.execute(sql.SQL("CREATE INDEX ON {} USING gin (words)").format(sql.Identifier(words)))
    if description.partition_by:
        counted = connection.execute(
            sql.SQL("SELECT tenant, count(embedding) FROM {} GROUP BY tenant").format(sql.Identifier(collection))
        ).fetchall()
        large = [(partition_of(collection, tenant), found) for tenant, found in counted if found >= EXACT_BELOW]
    else:
        large = [(collection, rows)] if rows >= EXACT_BELOW else []
        if tenants:
            connection.execute(sql.SQL("CREATE INDEX ON {} (tenant)").format(sql.Identifier(collection)))
    for table, size in large:
        _make_vector_index(connection, table, description, size)
    connection.execute(sql.SQL("ANALYZE {}, {}").format(sql.Identifier(collection), sql.Identifier(words)))


def _make_words(connection: psycopg.Connection[Any], words: str, table: str) -> None:
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} AS SELECT id, doc_id, tenant, to_tsvector('english', title || ' ' || text) AS words"
            " FROM {} WHERE embedding IS NOT NULL"
        ).format(sql.Identifier(words), sql.Identifier(table))
    )


def _make_partitions_of_words(connection: psycopg.Connection[Any], collection: str) -> None:
    words = words_of(collection)
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} (id text, doc_id text, tenant text, words tsvector) PARTITION BY LIST (tenant)"
        ).format(sql.Identifier(words))
    )
    for tenant in tenants_of(connection, collection):
        part = partition_of(words, tenant)
        _make_words(connection, part, partition_of(collection, tenant))
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} {}").format(
                sql.Identifier(words), sql.Identifier(part), for_values(tenant)
            )
        )


def _make_vector_index(
    connection: psycopg.Connection[Any], table: str, description: TableDescription, rows: int
) -> None:
    settings = description.vectors
    kind, dimension = PRECISIONS[settings.precision], description.index.dimension
    number = 4 if settings.precision == "single" else 2  # bytes
    width = dimension * number if settings.index == "full" else dimension / 8
    indexed = (
        f"embedding {kind}_cosine_ops" if settings.index == "full" else f"({bits('embedding', dimension)}) {_BITS}"
    )
    size = rows * (width + 32 * settings.m) * 1.5 / 2**20
    least, most = _MEMORY
    connection.execute(f"SET LOCAL maintenance_work_mem = '{min(most, max(least, round(size)))}MB'")
    statement = sql.SQL("CREATE INDEX ON {} USING hnsw ({}) WITH (m = {}, ef_construction = {})").format(
        sql.Identifier(table), sql.SQL(indexed), sql.Literal(settings.m), sql.Literal(settings.ef_construction)
    )
    try:
        with connection.transaction():
            connection.execute(statement)
    except (
        errors.DiskFull,
        errors.OutOfMemory,
    ):  # shared memory for several workers, which a container may have little of
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        connection.execute(statement)
