"""Loads a release's collection into a store, and records that the release uses it (`sluice index load`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.postgres_collections import ensure_collection
from sluice.retrieval.store_schema import require_current
from sluice.retrieval.stores import PartitionBy, VectorSettings

if TYPE_CHECKING:
    import psycopg


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
