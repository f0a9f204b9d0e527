"""Drops one tenant from a store whose collections are partitioned by tenant (retrieval/tenant_partitions.py): the
tenant's tables are dropped whole.

A service keeps running; the tenant's questions then find only the documents for all tenants. Each collection records
its dropped tenants, so that `sluice index verify` knows the expected contents.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import nearest
from sluice.retrieval.collection_tables import TableDescription, describe, say, view_of, words_of
from sluice.retrieval.postgres_collections import LOADING, list_collections
from sluice.retrieval.tenant_partitions import partition_of, tenants_of

if TYPE_CHECKING:
    import psycopg

# The lock waits for running searches, and later searches wait behind it: so it gives up soon and tries again.
_WAIT = "1s"
_ATTEMPTS = 30
_PAUSE = 0.5  # seconds


def drop_tenant(connection: psycopg.Connection[Any], tenant: str) -> dict[str, int]:
    """Drops the tenant's partitions in all collections or in none; returns the number of dropped chunks for each
    collection.

    SluiceError when an unpartitioned collection may hold documents of the tenant, when no collection has a partition of
    the tenant, and when running searches hold the tables for too long."""
    for _ in range(_ATTEMPTS):
        try:
            with connection.transaction():
                return _drop(connection, tenant)
        except errors.LockNotAvailable:
            time.sleep(_PAUSE)
    raise SluiceError(
        f"the store is in use by others at each of {_ATTEMPTS} attempts; nothing was dropped",
        remedy="look for a transaction that stays open (pg_stat_activity), then run it again",
    )


def _drop(connection: psycopg.Connection[Any], tenant: str) -> dict[str, int]:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOADING,))
    described = {name: describe(connection, name) for name in list_collections(connection)}
    _require_cut(connection, described, tenant)
    cut = [each for each in described.values() if each and each.partition_by]
    known = {each.index.collection: tenants_of(connection, each.index.collection) for each in cut}
    if not any(tenant in tenants for tenants in known.values()):
        names = sorted({name for tenants in known.values() for name in tenants if name})
        raise SluiceError(
            f"no collection of the store has documents of {tenant!r} alone{nearest(tenant, names)}",
            remedy=f"there are partitions of {', '.join(names) or 'nobody'}",
        )
    had = {each.index.collection: _count(connection, each, tenant) for each in cut}
    connection.execute(f"SET LOCAL lock_timeout = '{_WAIT}'")
    for table in _tables(known):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(partition_of(table, tenant))))
    for each in cut:
        if chunks := had[each.index.collection]:
            say(connection, each.model_copy(update={"dropped": {**each.dropped, tenant: chunks}}))
    return {collection: chunks for collection, chunks in had.items() if chunks}


def _require_cut(
    connection: psycopg.Connection[Any], described: dict[str, TableDescription | None], tenant: str
) -> None:
    """Faults that name the collections in which the tenant's documents may lie among those of others."""
    faults = []
    for name, found in described.items():
        if found is None:
            faults.append(f"{name}: was loaded by older code, and does not say what it holds")
        elif not found.partition_by and (chunks := _count(connection, found, tenant)):
            faults.append(f"{name}: has no partitions, and {chunks} chunks of {tenant}")
    if faults:
        raise ValidationErrors(
            "the store", faults, remedy="drop these collections first (`sluice index drop`, `prune`)"
        )


def _count(connection: psycopg.Connection[Any], description: TableDescription, tenant: str) -> int:
    view = sql.Identifier(view_of(description))
    row = connection.execute(sql.SQL("SELECT count(*) FROM {} WHERE tenant = %s").format(view), (tenant,)).fetchone()
    return int(row[0]) if row else 0


def _tables(collections: Iterable[str]) -> Iterable[str]:
    for collection in collections:
        yield from (collection, words_of(collection))
