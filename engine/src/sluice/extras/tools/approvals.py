"""Approvals of writing calls, in a table that replicas share, or in this process.

A call moves from pending to approved to taken. Each UPDATE names the state before, so only one of two racers wins."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import JSON, Column, Float, Integer, MetaData, String, Table, create_engine, event, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from starlette.exceptions import HTTPException

from sluice.core.digests import canonical_json, digest_of
from sluice.core.errors import SluiceError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

T = TypeVar("T")
_TABLES = MetaData()
_APPROVALS = Table(
    "sluice_approvals",
    _TABLES,
    Column("id", String(40), primary_key=True),
    Column("thread", String(40), index=True, nullable=False),
    Column("release", String(40), nullable=False),
    Column("tenant", String(200)),
    Column("conversation", JSON, nullable=False),
    Column("state", String(10), nullable=False),  # pending, approved, denied, withdrawn, expired
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("decided", Float),
    Column("decided_by", String(200)),
    Column("reason", String(500)),
)
_ACTIONS = Table(
    "sluice_approval_actions",
    _TABLES,
    Column("approval", String(40), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("tool", String(200), nullable=False),
    Column("args", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("state", String(10), nullable=False),  # pending, approved, taken; then what became of it
)
# What was said is kept while it is needed for going on. The calls stay: they say what was done, and by whose word.
_SAID_NO_MORE: dict[str, Any] = {"conversation": []}
_BUSY_SECONDS = 60  # SQLite's busy_timeout


class DecisionError(HTTPException):
    """An approval that can't be decided."""


@dataclass(frozen=True)
class Approval:
    """A question that waits for a decision, or waited."""

    id: str
    thread: str
    release: str
    tenant: str | None
    conversation: Sequence[dict[str, str]]
    state: str
    created: float
    expires: float
    decided_by: str | None
    reason: str | None
    actions: tuple[dict[str, Any], ...]

    def shown(self) -> dict[str, Any]:
        names = ("id", "state", "release", "created", "expires", "decided_by", "reason")
        return {"object": "approval"} | {name: getattr(self, name) for name in names} | {"actions": list(self.actions)}


def call_digest(tool: str, args: Mapping[str, Any]) -> str:
    """Return the digest of a call, independent of the order of its arguments."""
    return digest_of({"tool": tool, "args": canonical_json(args).decode()})


class Approvals:
    """The store, safe for threads. Without the address of a PostgreSQL database it lives in this process."""

    def __init__(self, address: str, seconds: float) -> None:
        self._seconds = seconds
        if address:
            driver = address.replace("postgres://", "postgresql://").replace("postgresql://", "postgresql+psycopg://")
            self._engine = create_engine(driver, pool_pre_ping=True)
        else:
            # A database in memory that the threads of this process share: each writer takes its lock, or waits for it.
            options: dict[str, Any] = {"isolation_level": None, "timeout": _BUSY_SECONDS}
            place = f"sqlite:///file:/approvals-{secrets.token_hex(8)}?vfs=memdb&uri=true"
            self._engine = create_engine(place, connect_args=options)
            event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            _TABLES.create_all(self._engine)
        except OperationalError as error:
            raise SluiceError(
                f"config/tools.yaml: approvals.database_env: no answer: {type(error.orig).__name__}",
                remedy="correct the address in the variable, or start the database",
            ) from error
        except (IntegrityError, ProgrammingError):  # another replica makes them at the same time
            _TABLES.create_all(self._engine)

    async def ask(
        self,
        thread: str,
        actions: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        release: str,
        tenant: str | None,
        conversation: Sequence[Mapping[str, str]],
    ) -> str:
        name, now = secrets.token_hex(16), time.time()
        row: dict[str, Any] = {"id": name, "thread": thread, "release": release, "tenant": tenant, "state": "pending"}
        row |= {"conversation": [dict(one) for one in conversation], "created": now, "expires": now + self._seconds}
        calls = [
            {"approval": name, "place": place, "tool": tool, "args": dict(args), "state": "pending"}
            | {"digest": call_digest(tool, args)}
            for place, (tool, args) in enumerate(actions)
        ]

        def write(connection: Connection) -> None:
            connection.execute(_APPROVALS.insert(), row)
            connection.execute(_ACTIONS.insert(), calls)

        await self._do(write)
        return name

    async def all(self, tenant: str | None) -> list[Approval]:
        """Return a tenant's newest hundred approvals."""
        newest = select(_APPROVALS).order_by(_APPROVALS.c.created.desc()).limit(100)
        mine = newest.where(_APPROVALS.c.tenant.is_(None) if tenant is None else _APPROVALS.c.tenant == tenant)
        return await self._do(lambda connection: [_read(connection, row) for row in connection.execute(mine)])

    async def find(self, name: str, tenant: str | None) -> Approval:
        """Return an approval of this tenant; those of other tenants are a 404."""
        named = select(_APPROVALS).where(_APPROVALS.c.id == name)
        for found in await self._do(lambda connection: [_read(connection, row) for row in connection.execute(named)]):
            if found.tenant == tenant:
                return found
        raise DecisionError(404, "there is no such approval")

    async def decide(
        self, name: str, tenant: str | None, *, approve: bool, by: str | None, reason: str, release: str
    ) -> Approval:
        found = await self.find(name, tenant)
        if found.release != release:
            raise DecisionError(409, f"{found.release} has asked, and {release} answers here: ask again")
        state, now = "approved" if approve else "denied", time.time()
        mine = (_APPROVALS.c.id == name) & (_APPROVALS.c.state == "pending") & (_APPROVALS.c.expires > now)
        said = {"state": state, "decided": now, "decided_by": by, "reason": reason[:500]} | _SAID_NO_MORE

        def write(connection: Connection) -> bool:
            if connection.execute(update(_APPROVALS).where(mine).values(said)).rowcount != 1:
                return False
            connection.execute(update(_ACTIONS).where(_ACTIONS.c.approval == name).values(state=state))
            return True

        if not await self._do(write):
            raise DecisionError(409, f"this approval is {(await self.find(name, tenant)).state}")
        return replace(await self.find(name, tenant), conversation=found.conversation)

    async def take(self, thread: str, tool: str, args: Mapping[str, Any]) -> str:
        """Take an approved call of a thread, once; return its idempotency key, or ""."""
        digest = call_digest(tool, args)
        approved = (_ACTIONS.c.state == "approved") & (_ACTIONS.c.digest == digest) & (_ACTIONS.c.tool == tool)
        of_thread = (_APPROVALS.c.thread == thread) & (_APPROVALS.c.state == "approved")
        wanted = select(_ACTIONS.c.approval, _ACTIONS.c.place).join(_APPROVALS, _APPROVALS.c.id == _ACTIONS.c.approval)
        wanted = wanted.where(approved & of_thread).order_by(_ACTIONS.c.place)

        def write(connection: Connection) -> str:
            for name, place in connection.execute(wanted).all():
                one = (_ACTIONS.c.approval == name) & (_ACTIONS.c.place == place) & (_ACTIONS.c.state == "approved")
                if connection.execute(update(_ACTIONS).where(one).values(state="taken")).rowcount == 1:
                    return f"{name}-{place}"
            return ""

        return await self._do(write)

    async def note(self, key: str, outcome: str) -> None:
        """Record the outcome of a call that was taken."""
        name, _, place = key.rpartition("-")
        one = (_ACTIONS.c.approval == name) & (_ACTIONS.c.place == int(place))
        await self._do(lambda connection: connection.execute(update(_ACTIONS).where(one).values(state=outcome)))

    async def withdraw(self, thread: str) -> None:
        """Withdraw a thread's pending approvals: the answer that asked for them was never given."""
        pending = (_APPROVALS.c.thread == thread) & (_APPROVALS.c.state == "pending")
        withdrawn = update(_APPROVALS).where(pending).values(_SAID_NO_MORE | {"state": "withdrawn"})
        await self._do(lambda connection: connection.execute(withdrawn))

    async def expire(self) -> list[str]:
        """Expire what is overdue and return the threads, each once."""
        over = (_APPROVALS.c.state == "pending") & (_APPROVALS.c.expires <= time.time())
        expired = update(_APPROVALS).where(over).values(_SAID_NO_MORE | {"state": "expired"})
        threads = expired.returning(_APPROVALS.c.thread)
        return await self._do(lambda connection: list(connection.execute(threads).scalars()))

    async def _do(self, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return await asyncio.to_thread(transaction)


def _read(connection: Connection, row: Row[Any]) -> Approval:
    wanted = select(_ACTIONS).where(_ACTIONS.c.approval == row.id).order_by(_ACTIONS.c.place)
    actions = tuple({"tool": one.tool, "args": one.args, "state": one.state} for one in connection.execute(wanted))
    state = "expired" if row.state == "pending" and row.expires <= time.time() else row.state
    names = ("id", "thread", "release", "tenant", "conversation", "created", "expires", "decided_by", "reason")
    return Approval(**{name: getattr(row, name) for name in names}, state=state, actions=actions)
