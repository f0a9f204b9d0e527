"""Collections in PostgreSQL: content-addressed, each loaded in one transaction, in full or as a difference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from sluice.core.digests import canonical_json
from sluice.core.errors import SluiceError
from sluice.retrieval.chunking import Chunk, starts
from sluice.retrieval.collection_tables import (
    COLUMNS,
    EXACT_BELOW,
    PRECISIONS,
    TableDescription,
    create,
    describe,
    make_indexes,
    words_of,
)
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import IndexInfo, read_index
from sluice.retrieval.stores import PartitionBy, VectorSettings

if TYPE_CHECKING:
    import psycopg

_TYPES = ("text", "text", "text", "text", "integer", "text", "bigint")  # of all columns but the last
_GONE = ("", "", "", 0)  # in place of document, title, text and start
_ITERATIVE_SCAN = (0, 8)  # the version of pgvector that brought it
LOADING = 7_265_811  # advisory lock: two services that start together load a collection once
_HELD = 7_265  # class of advisory locks: shared by the connections that search a collection
# A difference larger than this share of its base is not worth searching two tables.
_MOST_DIFFERENT = 0.1


def ensure_collection(
    connection: psycopg.Connection[Any],
    folder: Path,
    vectors: VectorSettings | None = None,
    partition_by: PartitionBy = None,
) -> IndexInfo:
    """Loads the index in `folder` unless its collection is already there. Readers never see half a collection.

    SluiceError when it is there and not cut as `partition_by` asks."""
    info, chunks, rows = read_index(folder)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOADING,))
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if connection.execute("SELECT to_regclass(%s)", (info.collection,)).fetchone() == (None,):
            _load(connection, info, chunks, rows, vectors or VectorSettings(), partition_by)
        else:
            require_cut(connection, info.collection, partition_by)
    return info


def require_cut(connection: psycopg.Connection[Any], collection: str, partition_by: PartitionBy) -> None:
    """SluiceError when the store is to keep tenants apart, and the collection was loaded without partitions."""
    described = describe(connection, collection)
    if partition_by and (described is None or described.partition_by != partition_by):
        raise SluiceError(
            f"{collection}: was loaded without partitions, and the store has partition_by: {partition_by}",
            remedy="drop it and load it again (`sluice index drop`), or name another store with partitions and load"
            " its release there",
        )


def _load(
    connection: psycopg.Connection[Any],
    info: IndexInfo,
    chunks: Sequence[Chunk],
    vectors: Vectors,
    settings: VectorSettings,
    partition_by: PartitionBy,
) -> None:
    tenants = any(chunk.tenant for chunk in chunks)
    if tenants:
        _require_iterative_scan(connection)
    content = contents(chunks)
    wanted = TableDescription(index=info, vectors=settings, partition_by=partition_by)
    found = _base(connection, wanted, chunks, content)
    description = wanted.model_copy(update={"base": found.base}) if found else wanted
    new = [found is None or chunk.id in found.new for chunk in chunks]
    gone = found.gone if found else ()
    owners = chain((chunk.tenant for chunk in compress(chunks, new)), (tenant for _, tenant in gone))
    create(connection, description, owners)
    # The last: what is not in this collection, but in its base.
    rows = chain(compress(_rows(chunks, content, vectors), new), ((key, *_GONE, whose, 0, None) for key, whose in gone))
    _fill(connection, description, rows)
    make_indexes(connection, description, sum(new), tenants=tenants)


def _fill(connection: psycopg.Connection[Any], description: TableDescription, rows: Iterable[Sequence[Any]]) -> None:
    from pgvector.psycopg import register_vector

    register_vector(connection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
        sql.Identifier(description.index.collection), sql.SQL(COLUMNS)
    )
    with connection.cursor().copy(statement) as copy:
        copy.set_types([*_TYPES, PRECISIONS[description.vectors.precision]])
        for row in rows:
            copy.write_row(row)


def _rows(chunks: Sequence[Chunk], content: Sequence[int], vectors: Vectors) -> Iterator[Sequence[Any]]:
    """A row for each chunk, in the order of `COLUMNS`."""
    for chunk, start, same, vector in zip(chunks, starts(chunks), content, vectors, strict=True):
        yield chunk.id, chunk.doc_id, chunk.title, chunk.text, start, chunk.tenant, same, vector


def contents(chunks: Sequence[Chunk]) -> list[int]:
    """64 bits for each chunk that say whether it is the same as another of its id."""
    found = []
    for chunk, start in zip(chunks, starts(chunks), strict=True):
        content = canonical_json([chunk.doc_id, chunk.title, chunk.text, start, chunk.tenant])
        found.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True))
    return found


@dataclass(frozen=True)
class _CollectionDifference:
    """Ids of chunks that are not in `base`, or there with another content; id and tenant of those that are only there.

    Where collections are cut, a chunk that went from one tenant to another is both: new in the partition of the one,
    gone from that of the other, which a search of that tenant alone looks into."""

    base: str
    new: frozenset[str]
    gone: tuple[tuple[str, str | None], ...]


def _base(
    connection: psycopg.Connection[Any], wanted: TableDescription, chunks: Sequence[Chunk], contents: Sequence[int]
) -> _CollectionDifference | None:
    """The newest whole collection of the same vectors, cut alike, if little of it is different."""
    info, settings, cut = wanted.index, wanted.vectors, wanted.partition_by
    content = dict(zip((chunk.id for chunk in chunks), contents, strict=True))
    owner = {chunk.id: chunk.tenant for chunk in chunks}
    for name in reversed(list_collections(connection, newest_last=True)):
        other = describe(connection, name)
        if (
            other is None
            or other.base
            or other.index.embedder != info.embedder
            or (other.vectors.precision, other.vectors.index) != (settings.precision, settings.index)
            or other.partition_by != cut
            or other.index.chunks < EXACT_BELOW
        ):
            continue
        rows = connection.execute(sql.SQL("SELECT id, content, tenant FROM {}").format(sql.Identifier(name))).fetchall()
        there = {str(row[0]): int(row[1]) for row in rows}
        new = frozenset(key for key, value in content.items() if there.get(key) != value)
        gone = tuple(
            (key, tenant if cut else None)
            for key, _, tenant in rows
            if key not in content or (cut and owner[key] != tenant)
        )
        return _CollectionDifference(name, new, gone) if len(new) + len(gone) <= _MOST_DIFFERENT * len(there) else None
    return None


def _require_iterative_scan(connection: psycopg.Connection[Any]) -> None:
    """Before pgvector 0.8 a filter only thins out what the vector index found: a tenant would find next to nothing."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = str(row[0]) if row else ""
    if tuple(int(part) for part in version.split(".")[:2]) < _ITERATIVE_SCAN:
        raise SluiceError(
            f"the store has pgvector {version}, documents with a tenant need 0.8 or newer",
            remedy="update it on the server, then: ALTER EXTENSION vector UPDATE",
        )


def list_collections(connection: psycopg.Connection[Any], *, newest_last: bool = False) -> list[str]:
    """The names of the collections in a store.

    Args:
        connection: to the store.
        newest_last: sorted by age instead of by name.
    """
    rows = connection.execute(
        r"SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname LIKE 'chunks\_%'"
        f" AND pg_table_is_visible(oid) ORDER BY {'oid' if newest_last else 'relname'}"
    )
    return [str(row[0]) for row in rows.fetchall()]


def built_on(connection: psycopg.Connection[Any], collection: str) -> list[str]:
    """The collections that hold only what differs from another.

    Args:
        connection: to the store.
        collection: name of the other.
    """
    described = [describe(connection, name) for name in list_collections(connection)]
    return [each.index.collection for each in described if each and each.base == collection]


def hold(connection: psycopg.Connection[Any], collection: str) -> None:
    """While this connection is open, `drop` does not drop the collection."""
    connection.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (_HELD, collection))


def drop(connection: psycopg.Connection[Any], collection: str) -> bool:
    """Drops a collection that is neither searched nor the base of another.

    Args:
        connection: to the store, in a transaction.
        collection: its name.

    Returns:
        Whether it did.
    """
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", (_HELD, collection)).fetchone()
    if row != (True,) or built_on(connection, collection):
        return False
    view = sql.Identifier(collection.replace("chunks", "whole", 1))
    tables = sql.Identifier(collection), sql.Identifier(words_of(collection))
    connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(*tables))
    return True
