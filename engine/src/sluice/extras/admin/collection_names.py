"""Names that stand for collections (`sluice index switch`), and what else a collection is needed for.

A name, such as `live`, stands for one collection at a time. Switching it is one row in one transaction: a reader of the
name (`alias_retriever.py`) sees the old collection or the new one, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.retrieval.collection_usage import SWITCHING, collections_of_releases, named
from sluice.retrieval.postgres_collections import built_on, drop, list_collections
from sluice.retrieval.store_schema import has_schema, require_current

if TYPE_CHECKING:
    import psycopg


def switch(connection: psycopg.Connection[Any], name: str, collection: str) -> str | None:
    """Lets `name` stand for `collection` from now on; what it stood for before. SluiceError for one that is not there,
    also when it is dropped at this moment."""
    require_current(connection)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (SWITCHING,))
        require_collection(connection, collection)
        row = connection.execute("SELECT collection FROM sluice_names WHERE name = %s", (name,)).fetchone()
        before = str(row[0]) if row else None
        if before != collection:
            connection.execute(
                "INSERT INTO sluice_names (name, collection) VALUES (%(name)s, %(new)s) ON CONFLICT (name) DO UPDATE"
                " SET previous = sluice_names.collection, collection = excluded.collection, switched = now()",
                {"name": name, "new": collection},
            )
    return before


def needs(connection: psycopg.Connection[Any], collection: str) -> list[str]:
    """What the collection is needed for, in words; nothing of it is known in a store without a schema."""
    found = [f"{other} is built on it" for other in built_on(connection, collection)]
    if not has_schema(connection):
        return found
    found += [f"it is {what}" for what in named(connection).get(collection, [])]
    return found + [
        f"it is of release {key}" for key, value in collections_of_releases(connection).items() if value == collection
    ]


def drop_one(connection: psycopg.Connection[Any], collection: str) -> None:
    """Drops a collection that is not needed. SluiceError says what it is needed for, or that somebody searches it."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (SWITCHING,))
        require_collection(connection, collection)
        if found := needs(connection, collection):
            raise SluiceError(
                f"{collection}: stays: {'; '.join(found)}",
                remedy="switch the name to another, prune what releases no longer need (`sluice index prune`)",
            )
        if not drop(connection, collection):
            raise SluiceError(f"{collection}: stays, a service searches it", remedy="stop the service first")


def require_collection(connection: psycopg.Connection[Any], collection: str) -> None:
    known = list_collections(connection)
    if collection not in known:
        raise SluiceError(
            f"{collection}: no such collection in the store{nearest(collection, known)}",
            remedy="`sluice index list` names those that are there",
        )
