"""Collections of a vector store: their size, what needs them, and dropping those that nothing needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import dict_row

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.retrieval.postgres_collections import (
    collections_of_releases,
    describe,
    drop,
    list_collections,
    vector_indexed,
    words_of,
)

if TYPE_CHECKING:
    import psycopg


DROPPED, HELD = "dropped", "stays, a service searches it"
UNRECORDED = "stays, it was not loaded by `sluice index load`"


def needs(connection: psycopg.Connection[Any], collection: str) -> list[str]:
    releases = collections_of_releases(connection).items()
    return [f"it is of release {release}" for release, name in releases if name == collection]


def drop_one(connection: psycopg.Connection[Any], collection: str) -> None:
    with connection.transaction():
        require_collection(connection, collection)
        if found := needs(connection, collection):
            remedy = "prune what releases no longer need (`sluice index prune`)"
            raise SluiceError(f"{collection}: stays: {'; '.join(found)}", remedy=remedy)
        if not drop(connection, collection):
            raise SluiceError(f"{collection}: stays, a service searches it", remedy="stop the service first")


def prune(connection: psycopg.Connection[Any], keep: Collection[str]) -> dict[str, str]:
    """Drop the collections that only other releases have, unless a service searches them; return what became of each
    that no release to keep has."""
    recorded = collections_of_releases(connection)
    for release in keep:
        if release not in recorded:
            remedy = f"it holds {', '.join(sorted(recorded)) or 'none'}; nothing was dropped"
            said = f"{release}: was not loaded into this store{nearest(release, list(recorded))}"
            raise SluiceError(said, remedy=remedy)
    unneeded = set(recorded.values()) - {recorded[release] for release in keep}
    done: dict[str, str] = {}
    for collection in sorted(unneeded):
        with connection.transaction():
            done[collection] = DROPPED if drop(connection, collection) else HELD
            if done[collection] == DROPPED:
                connection.execute("DELETE FROM sluice_releases WHERE collection = %s", (collection,))
    others = [name for name in list_collections(connection) if name not in recorded.values()]
    return done | dict.fromkeys(others, UNRECORDED)


def require_collection(connection: psycopg.Connection[Any], collection: str) -> None:
    known = list_collections(connection)
    if collection not in known:
        said = f"{collection}: no such collection in the store{nearest(collection, known)}"
        raise SluiceError(said, remedy="`sluice index list` lists them")


@dataclass(frozen=True)
class CollectionInfo:
    """A collection; what only a description knows is None if older code loaded it."""

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


def listed(connection: psycopg.Connection[Any]) -> list[CollectionInfo]:
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


def stats(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return figures of the server and the database of a store; `memory` is PostgreSQL's shared buffers."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            "SELECT current_setting('server_version') AS postgresql,"
            " coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), '') AS pgvector,"
            " pg_database_size(current_database()) AS database_bytes, current_setting('shared_buffers') AS memory,"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
            " current_setting('max_connections')::int AS most_connections"
        ).fetchone()
    return {**(found or {}), "collections": [asdict(one) for one in listed(connection)]}
