"""Schema migrations of a store (`migrations/versions/`), run by alembic. Runs as `sluice index migrate`.

All steps of a run are one transaction. Upgrades only add, which a test holds; steps down are for people.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from sluice.core.errors import SluiceError
from sluice.retrieval import migrations
from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.postgres_collections import ensure_collection
from sluice.retrieval.stores import VectorSettings

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(migrations.__file__).parent
HEAD, BASE = "head", "base"
_TABLE = "sluice_schema"
_LOCK = 7_265_812  # advisory lock: two runs at once do the steps once
_TURN = "1min"  # the longest wait for another run
# A schema change waits for readers of the table, and later readers wait behind it. So it gives up soon, lets the
# readers through and comes again.
_WAIT = "1s"
_ATTEMPTS = 30
_PAUSE = 1.0  # seconds


@dataclass(frozen=True)
class MigrationResult:
    """The revision, empty for none, and a line for each step."""

    after: str
    steps: tuple[str, ...]


def migrate(connection: psycopg.Connection[Any], *, to: str = HEAD, folder: Path = MIGRATIONS) -> MigrationResult:
    """Bring the store's schema to a revision. Repeating it changes nothing."""
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    script = ScriptDirectory(str(folder))
    if to not in (HEAD, BASE, *(known := _order(script))):
        raise SluiceError(f"the store's schema has no revision {to!r}", remedy=f"there are {', '.join([*known, BASE])}")
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    for _ in range(_ATTEMPTS):
        try:
            return _run(engine, script, to)
        except psycopg.errors.LockNotAvailable:
            time.sleep(_PAUSE)
    raise SluiceError(
        f"the store's schema: in use by others at each of {_ATTEMPTS} attempts; nothing was changed",
        remedy="look for a transaction that stays open (pg_stat_activity), then run it again",
    )


def require_current(connection: psycopg.Connection[Any]) -> None:
    """Raise SluiceError when a step of this code is still to be done; a newer schema has only added."""
    from alembic.script import ScriptDirectory

    there, known = _there(connection), _order(ScriptDirectory(str(MIGRATIONS)))
    if there != known[-1] and there in ("", *known):
        raise SluiceError(
            f"the store's schema is {there or 'not there yet'}, this code needs {known[-1]} of {_TABLE}",
            remedy="run `sluice index migrate`",
        )


def load_release(
    connection: psycopg.Connection[Any], folder: Path, release: str, vectors: VectorSettings | None = None
) -> IndexInfo:
    """Load an index beside what is there and record it as that of a release."""
    require_current(connection)
    info = ensure_collection(connection, folder, vectors)
    connection.execute(
        "INSERT INTO sluice_releases (id, collection) VALUES (%s, %s)"
        " ON CONFLICT (id) DO UPDATE SET collection = excluded.collection, loaded = now()",
        (release, info.collection),
    )
    return info


def _there(connection: psycopg.Connection[Any]) -> str:
    if connection.execute("SELECT to_regclass(%s)", (_TABLE,)).fetchone() == (None,):
        return ""
    row = connection.execute(f"SELECT version_num FROM {_TABLE}").fetchone()
    return str(row[0]) if row else ""


def _run(engine: Engine, script: ScriptDirectory, target: str) -> MigrationResult:
    from sqlalchemy.exc import DBAPIError

    steps: list[str] = []
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_TURN}'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}'")
            _go(connection, script, target, steps)
            inside: Any = connection.connection.driver_connection
            return MigrationResult(_there(inside), tuple(steps))
    except DBAPIError as error:
        raise (error.orig or error) from None


def _go(connection: Connection, script: ScriptDirectory, target: str, steps: list[str]) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    order = _order(script)

    def plan(current: Any, _: MigrationContext) -> Any:
        there = current[0] if current else ""
        if there and there not in order:
            if target == HEAD:
                return []  # of newer code, which has only added: what we need is there
            raise SluiceError(
                f"the store's schema is {there}, which this code does not know", remedy="run it with the newer code"
            )
        places = {BASE: -1, HEAD: len(order) - 1, **{revision: place for place, revision in enumerate(order)}}
        down = places[target] < places[there or BASE]
        planned = (script._downgrade_revs if down else script._upgrade_revs)(target, current)
        way = "down" if down else "up"
        steps.extend(f"{one.revision.revision} {way}: {one.revision.doc}" for one in planned)
        return planned

    with EnvironmentContext(Config(), script, fn=plan, destination_rev=target) as environment:
        environment.configure(connection=connection, version_table=_TABLE)
        environment.run_migrations()


def _order(script: ScriptDirectory) -> list[str]:
    """Return all revisions, oldest first."""
    return [one.revision for one in script.walk_revisions()][::-1]
