"""The releases (`sluice index load`) and names (`sluice index switch`) that use a store's collections.

A name, such as `live`, stands for one collection at a time. Switching it is one row in one transaction: a reader of the
name (`live.py`) sees the old collection or the new one, whole.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.postgres_collections import built_on, drop, ensure_collection, list_collections
from sluice.retrieval.store_schema import has_schema, require_current
from sluice.retrieval.stores import PartitionBy, VectorSettings

if TYPE_CHECKING:
    import psycopg


_SWITCHING = 7_265_813  # advisory lock: what a name is switched to is not dropped meanwhile


@dataclass(frozen=True)
class PruneResult:
    """Names of collections. `held`: no release that is kept has them, but a service searches them or one that stays is
    built on them. `unrecorded`: loaded by a service itself, so the release is unknown; they stay."""

    dropped: tuple[str, ...]
    held: tuple[str, ...]
    unrecorded: tuple[str, ...]


def load(
    connection: psycopg.Connection[Any],
    folder: Path,
    release: str,
    vectors: VectorSettings | None = None,
    partition_by: PartitionBy = None,
) -> IndexInfo:
    """Loads the index in `folder` beside what is there and records it as that of `release`; again, nothing changes.

    SluiceError when the store's schema is older than this code."""
    require_current(connection)
    info = ensure_collection(connection, folder, vectors, partition_by)
    connection.execute(
        "INSERT INTO sluice_releases (id, collection) VALUES (%s, %s)"
        " ON CONFLICT (id) DO UPDATE SET collection = excluded.collection, loaded = now()",
        (release, info.collection),
    )
    return info


def prune(connection: psycopg.Connection[Any], keep: Collection[str]) -> PruneResult:
    """Drops every collection that was loaded for releases outside of `keep` alone, unless a service searches it.

    SluiceError for a release that was never loaded: with a misspelt name its collection would go."""
    require_current(connection)
    recorded = _recorded(connection)
    for release in keep:
        if release not in recorded:
            raise SluiceError(
                f"{release}: was not loaded into this store{nearest(release, list(recorded))}",
                remedy=f"it holds {', '.join(sorted(recorded)) or 'none'}; nothing was dropped",
            )
    needed = {recorded[release] for release in keep} | named(connection).keys()
    unneeded = set(recorded.values()) - needed
    done: dict[str, bool] = {}
    # Those that are built on others first: then the others may go as well.
    for collection in sorted(unneeded, key=lambda name: (bool(built_on(connection, name)), name)):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SWITCHING,))
            done[collection] = collection not in named(connection) and drop(connection, collection)
            if done[collection]:
                connection.execute("DELETE FROM sluice_releases WHERE collection = %s", (collection,))
    return PruneResult(
        tuple(name for name, gone in done.items() if gone),
        tuple(name for name, gone in done.items() if not gone),
        tuple(name for name in list_collections(connection) if name not in recorded.values()),
    )


def switch(connection: psycopg.Connection[Any], name: str, collection: str) -> str | None:
    """Lets `name` stand for `collection` from now on; what it stood for before. SluiceError for one that is not there,
    also when it is dropped at this moment."""
    require_current(connection)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SWITCHING,))
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


def named(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Collection to what it is: `live` for the one that a name stands for, `before live` for its predecessor."""
    found: dict[str, list[str]] = {}
    for name, now, previous in connection.execute("SELECT name, collection, previous FROM sluice_names ORDER BY name"):
        found.setdefault(str(now), []).append(str(name))
        if previous:
            found.setdefault(str(previous), []).append(f"before {name}")
    return found


def needs(connection: psycopg.Connection[Any], collection: str) -> list[str]:
    """What the collection is needed for, in words; nothing of it is known in a store without a schema."""
    found = [f"{other} is built on it" for other in built_on(connection, collection)]
    if not has_schema(connection):
        return found
    found += [f"it is {what}" for what in named(connection).get(collection, [])]
    return found + [f"it is of release {key}" for key, value in _recorded(connection).items() if value == collection]


def drop_one(connection: psycopg.Connection[Any], collection: str) -> None:
    """Drops a collection that is not needed. SluiceError says what it is needed for, or that somebody searches it."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SWITCHING,))
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


def _recorded(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Release to collection."""
    return {str(row[0]): str(row[1]) for row in connection.execute("SELECT id, collection FROM sluice_releases")}
