"""Approvals of writing calls, in a table that replicas share, or in this process.

A call moves from pending to approved to taken. Each UPDATE names the state before, so only one of two racers wins."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from sqlalchemy import JSON, ColumnElement, ForeignKey, String, create_engine, event, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from starlette.exceptions import HTTPException

from sluice.core.digests import canonical_json, digest_of
from sluice.core.errors import SluiceError

T = TypeVar("T")


class _Table(DeclarativeBase):
    type_annotation_map: ClassVar[Any] = {dict[str, Any]: JSON, list[dict[str, str]]: JSON}


class Action(_Table):
    """A call of an approval. `state`: pending, approved, denied, taken; then what became of it."""

    __tablename__ = "sluice_approval_actions"

    approval: Mapped[str] = mapped_column(ForeignKey("sluice_approvals.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    tool: Mapped[str] = mapped_column(String(200))
    args: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(10))


class Approval(_Table):
    """A question that waits for a decision, or waited. `state`: pending, approved, denied, withdrawn, expired."""

    __tablename__ = "sluice_approvals"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    thread: Mapped[str] = mapped_column(String(40), index=True)
    release: Mapped[str] = mapped_column(String(40))
    tenant: Mapped[str | None] = mapped_column(String(200))
    conversation: Mapped[list[dict[str, str]]]
    state: Mapped[str] = mapped_column(String(10))
    created: Mapped[float]
    expires: Mapped[float]
    decided: Mapped[float | None]
    decided_by: Mapped[str | None] = mapped_column(String(200))
    reason: Mapped[str | None] = mapped_column(String(500))
    actions: Mapped[list[Action]] = relationship(order_by=Action.place, lazy="selectin")

    def shown(self) -> dict[str, Any]:
        names = ("id", "state", "release", "created", "expires", "decided_by", "reason")
        actions = [{"tool": one.tool, "args": one.args, "state": one.state} for one in self.actions]
        return {"object": "approval"} | {name: getattr(self, name) for name in names} | {"actions": actions}


# What was said is kept while it is needed for going on. The calls stay: they say what was done, and by whose word.
_SAID_NO_MORE: dict[str, Any] = {"conversation": []}
_BUSY_SECONDS = 60  # SQLite's busy_timeout


class DecisionError(HTTPException):
    """An approval that can't be decided."""


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
            _Table.metadata.create_all(self._engine)
        except OperationalError as error:
            raise SluiceError(
                f"config/tools.yaml: approvals.database_env: no answer: {type(error.orig).__name__}",
                remedy="correct the address in the variable, or start the database",
            ) from error
        except (IntegrityError, ProgrammingError):  # another replica makes them at the same time
            _Table.metadata.create_all(self._engine)

    async def ask(
        self,
        thread: str,
        actions: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        release: str,
        tenant: str | None,
        conversation: Sequence[Mapping[str, str]],
    ) -> str:
        now = time.time()
        asked = Approval(
            id=secrets.token_hex(16),
            thread=thread,
            release=release,
            tenant=tenant,
            conversation=[dict(one) for one in conversation],
            state="pending",
            created=now,
            expires=now + self._seconds,
            actions=[
                Action(place=place, tool=tool, args=dict(args), digest=call_digest(tool, args), state="pending")
                for place, (tool, args) in enumerate(actions)
            ],
        )
        await self._do(lambda session: session.add(asked))
        return asked.id

    async def all(self, tenant: str | None) -> list[Approval]:
        """Return a tenant's newest hundred approvals."""
        return await self._select(Approval.tenant == tenant)

    async def find(self, name: str, tenant: str | None) -> Approval:
        """Return an approval of this tenant; those of other tenants are a 404."""
        for found in await self._select((Approval.id == name) & (Approval.tenant == tenant)):
            return found
        raise DecisionError(404, "there is no such approval")

    async def _select(self, where: ColumnElement[bool]) -> list[Approval]:
        newest = select(Approval).where(where).order_by(Approval.created.desc()).limit(100)
        approvals = await self._do(lambda session: list(session.scalars(newest)))
        for one in approvals:
            if one.state == "pending" and one.expires <= time.time():
                one.state = "expired"
        return approvals

    async def decide(
        self, name: str, tenant: str | None, *, approve: bool, by: str | None, reason: str, release: str
    ) -> Approval:
        found = await self.find(name, tenant)
        if found.release != release:
            raise DecisionError(409, f"{found.release} has asked, and {release} answers here: ask again")
        state, now = "approved" if approve else "denied", time.time()
        mine = (Approval.id == name) & (Approval.state == "pending") & (Approval.expires > now)
        said = {"state": state, "decided": now, "decided_by": by, "reason": reason[:500]} | _SAID_NO_MORE

        def write(session: Session) -> bool:
            if session.connection().execute(update(Approval).where(mine).values(said)).rowcount != 1:
                return False
            session.execute(update(Action).where(Action.approval == name).values(state=state))
            return True

        if not await self._do(write):
            raise DecisionError(409, f"this approval is {(await self.find(name, tenant)).state}")
        decided = await self.find(name, tenant)
        decided.conversation = found.conversation
        return decided

    async def take(self, thread: str, tool: str, args: Mapping[str, Any]) -> str:
        """Take an approved call of a thread, once; return its idempotency key, or ""."""
        approved = (Action.state == "approved") & (Action.digest == call_digest(tool, args)) & (Action.tool == tool)
        of_thread = (Approval.thread == thread) & (Approval.state == "approved")
        wanted = select(Action).join(Approval.actions).where(approved & of_thread).order_by(Action.place)

        def write(session: Session) -> str:
            for one in session.scalars(wanted).all():
                key = (Action.approval == one.approval) & (Action.place == one.place) & (Action.state == "approved")
                if session.connection().execute(update(Action).where(key).values(state="taken")).rowcount == 1:
                    return f"{one.approval}-{one.place}"
            return ""

        return await self._do(write)

    async def note(self, key: str, outcome: str) -> None:
        """Record the outcome of a call that was taken."""
        name, _, place = key.rpartition("-")
        one = (Action.approval == name) & (Action.place == int(place))
        await self._do(lambda session: session.execute(update(Action).where(one).values(state=outcome)))

    async def withdraw(self, thread: str) -> None:
        """Withdraw a thread's pending approvals: the answer that asked for them was never given."""
        pending = (Approval.thread == thread) & (Approval.state == "pending")
        withdrawn = update(Approval).where(pending).values(_SAID_NO_MORE | {"state": "withdrawn"})
        await self._do(lambda session: session.execute(withdrawn))

    async def expire(self) -> list[str]:
        """Expire what is overdue and return the threads, each once."""
        over = (Approval.state == "pending") & (Approval.expires <= time.time())
        expired = update(Approval).where(over).values(_SAID_NO_MORE | {"state": "expired"})
        return await self._do(lambda session: list(session.scalars(expired.returning(Approval.thread))))

    async def _do(self, work: Callable[[Session], T]) -> T:
        def transaction() -> T:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return work(session)

        return await asyncio.to_thread(transaction)
