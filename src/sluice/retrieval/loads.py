"""Which release was loaded with which collection: written by `sluice index load`, read by `sluice index prune`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.retrieval.collections import drop, ensure_collection, list_collections
from sluice.retrieval.index import IndexInfo
from sluice.retrieval.schema import require_current

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Pruned:
    """Names of collections. `held`: no release that is kept has them, but a service searches them. `unrecorded`:
    loaded by a service itself, so nobody knows for which release; they stay."""

    dropped: tuple[str, ...]
    held: tuple[str, ...]
    unrecorded: tuple[str, ...]


def load(connection: psycopg.Connection[Any], folder: Path, release: str) -> IndexInfo:
    """Loads the index in `folder` beside what is there and records it as that of `release`; again, nothing changes.

    SluiceError when the store's schema is older than this code."""
    require_current(connection)
    info = ensure_collection(connection, folder)
    connection.execute(
        "INSERT INTO sluice_releases (id, collection) VALUES (%s, %s)"
        " ON CONFLICT (id) DO UPDATE SET collection = excluded.collection, loaded = now()",
        (release, info.collection),
    )
    return info


def prune(connection: psycopg.Connection[Any], keep: Collection[str]) -> Pruned:
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
    needed = {recorded[release] for release in keep}
    done: dict[str, bool] = {}
    for collection in sorted(set(recorded.values()) - needed):
        with connection.transaction():
            done[collection] = drop(connection, collection)
            if done[collection]:
                connection.execute("DELETE FROM sluice_releases WHERE collection = %s", (collection,))
    return Pruned(
        tuple(name for name, gone in done.items() if gone),
        tuple(name for name, gone in done.items() if not gone),
        tuple(name for name in list_collections(connection) if name not in recorded.values()),
    )


def _recorded(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Release to collection."""
    return {str(row[0]): str(row[1]) for row in connection.execute("SELECT id, collection FROM sluice_releases")}
