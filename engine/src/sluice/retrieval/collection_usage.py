"""The releases that use a store's collections (`sluice index load`), and collections that none needs any more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.postgres_collections import built_on, drop, ensure_collection, list_collections
from sluice.retrieval.store_schema import require_current
from sluice.retrieval.stores import PartitionBy, VectorSettings

if TYPE_CHECKING:
    import psycopg


SWITCHING = 7_265_813  # advisory lock: what a name is switched to is not dropped meanwhile


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
    """Loads an index beside what is there and records it as that of a release; again, nothing changes.

    Args:
        connection: to the store.
        folder: of the index.
        release: id of the release.
        vectors: how vectors are stored and found; default: as config/stores.yaml does without a word.
        partition_by: how the collection is cut.

    Raises:
        SluiceError: the store's schema is older than this code.
    """
    require_current(connection)
    info = ensure_collection(connection, folder, vectors, partition_by)
    connection.execute(
        "INSERT INTO sluice_releases (id, collection) VALUES (%s, %s)"
        " ON CONFLICT (id) DO UPDATE SET collection = excluded.collection, loaded = now()",
        (release, info.collection),
    )
    return info


def prune(connection: psycopg.Connection[Any], keep: Collection[str]) -> PruneResult:
    """Drops every collection that was loaded for other releases alone, unless a service searches it.

    Args:
        connection: to the store.
        keep: ids of releases whose collections stay.

    Raises:
        SluiceError: a release that was never loaded: with a misspelt name its collection would go.
    """
    require_current(connection)
    recorded = collections_of_releases(connection)
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
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (SWITCHING,))
            done[collection] = collection not in named(connection) and drop(connection, collection)
            if done[collection]:
                connection.execute("DELETE FROM sluice_releases WHERE collection = %s", (collection,))
    return PruneResult(
        tuple(name for name, gone in done.items() if gone),
        tuple(name for name, gone in done.items() if not gone),
        tuple(name for name in list_collections(connection) if name not in recorded.values()),
    )


def named(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Collection to what it is: `live` for the one that a name stands for, `before live` for its predecessor."""
    found: dict[str, list[str]] = {}
    for name, now, previous in connection.execute("SELECT name, collection, previous FROM sluice_names ORDER BY name"):
        found.setdefault(str(now), []).append(str(name))
        if previous:
            found.setdefault(str(previous), []).append(f"before {name}")
    return found


def collections_of_releases(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Release to collection."""
    return {str(row[0]): str(row[1]) for row in connection.execute("SELECT id, collection FROM sluice_releases")}
