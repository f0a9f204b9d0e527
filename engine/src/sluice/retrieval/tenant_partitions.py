"""Collections partitioned by tenant (`partition_by: tenant` of config/stores.yaml): LIST partitions of PostgreSQL, each
with its own indexes.

There is one for the documents for everybody and one for each tenant who has some, of the chunks and of their full text.
A search names its tenant, and PostgreSQL then looks into these two and no other; a tenant without a partition, or none,
sees what is for everybody. There is no partition for what fits no other, so a row is in its tenant's or nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from psycopg import sql

from sluice.core.errors import SluiceError

if TYPE_CHECKING:
    import psycopg

# What a load locks for a tenant: the tables of chunks and words, what lies beside them, and their indexes (counted).
_LOCKS = 22
_DIGITS = 12


def partition_of(table: str, tenant: str | None) -> str:
    """Name of a partition; no name of a collection begins so.

    Args:
        table: that is cut.
        tenant: whose partition; None: that for everybody.
    """
    if tenant is None:
        return f"part_{table}_everybody"
    return f"part_{table}_{hashlib.blake2b(tenant.encode(), digest_size=_DIGITS // 2).hexdigest()}"


def for_values(tenant: str | None) -> sql.Composed:
    return sql.SQL("FOR VALUES IN ({})").format(sql.Literal(tenant))


def create_partitions(connection: psycopg.Connection[Any], table: str, tenants: Iterable[str | None]) -> None:
    """Empty ones, of a table of chunks. SluiceError when they are more than the server can lock at once."""
    wanted = list(dict.fromkeys([None, *tenants]))
    _require_locks(connection, len(wanted))
    for tenant in wanted:
        part = sql.Identifier(partition_of(table, tenant))
        connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} (PRIMARY KEY (id)) {} WITH (toast_tuple_target = 8160)").format(
                part, sql.Identifier(table), for_values(tenant)
            )
        )
        connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(part, sql.Literal(tenant)))


def _require_locks(connection: psycopg.Connection[Any], partitions: int) -> None:
    row = connection.execute(
        "SELECT current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int"
    ).fetchone()
    most = row[0] if row else 0
    if partitions * _LOCKS > most:
        raise SluiceError(
            f"{partitions} partitions take about {partitions * _LOCKS} locks at once, and the server has {most}",
            remedy="raise max_locks_per_transaction of PostgreSQL (it needs a restart), or use several stores",
        )


def tenants_of(connection: psycopg.Connection[Any], table: str) -> list[str | None]:
    """Whose partitions a table has.

    Args:
        connection: to the store.
        table: its name.

    Returns:
        Tenants, None for everybody first; nothing where the table is not cut.
    """
    rows = connection.execute(
        "SELECT obj_description(inhrelid, 'pg_class') FROM pg_inherits WHERE inhparent = to_regclass(%s)"
        " ORDER BY 1 NULLS FIRST",
        (table,),
    )
    return [row[0] for row in rows]
