"""Conversations in PostgreSQL: their messages by LangGraph's checkpointer, whose they are in a table of our own.

A thread of the checkpointer is a conversation; its channel `messages` holds them. Of a thread only the newest
checkpoint is kept: an older one would hold the same texts again.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver

from sluice.extras.conversations import migrations
from sluice.extras.conversations.settings import ConversationSettings

if TYPE_CHECKING:
    import psycopg

    from sluice.retrieval.postgres_connections import BoundedPool

MIGRATIONS = Path(migrations.__file__).parent
PREFIX = "conv_"
_CHANNEL = "messages"
_OWNED = "tenant = %s AND key = %s AND person = %s"
_MOST_EXPIRED = 20  # conversations that go when one is made
_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
_OLDER = (
    "DELETE FROM checkpoints WHERE thread_id = %(id)s AND checkpoint_id <> %(checkpoint)s",
    "DELETE FROM checkpoint_blobs b WHERE thread_id = %(id)s AND NOT EXISTS ("
    " SELECT FROM checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v"
    " WHERE c.thread_id = b.thread_id AND v.key = b.channel AND v.value = b.version)",
)
Messages = list[dict[str, str]]


class UnknownConversationError(Exception):
    """Its owner has no such conversation; whether another has is not said."""


class BusyConversationError(Exception):
    """Another question of the conversation is being answered."""


@dataclass(frozen=True)
class Owner:
    """Whose a conversation is. `person`: whom the caller asks for, in his own words; empty: the key's own."""

    tenant: str
    key: str
    person: str


@dataclass(frozen=True)
class Conversation:
    """`messages`: each with role, content and the trace of its answer."""

    id: str
    created: datetime
    messages: Messages


class ConversationStore:
    """Safe for many threads and processes. Its calls block, and raise RetrievalError where PostgreSQL fails."""

    def __init__(self, pool: BoundedPool, settings: ConversationSettings) -> None:
        self._pool = pool
        self._settings = settings

    def create(self, owner: Owner) -> Conversation:
        """A new one, with an id that cannot be guessed. Some whose time is over are deleted."""
        name = f"{PREFIX}{secrets.token_hex(16)}"
        with self._pool.connection() as connection:
            made = connection.execute(
                "INSERT INTO sluice_conversations (id, tenant, key, person) VALUES (%s, %s, %s, %s) RETURNING created",
                (name, *astuple(owner)),
            ).fetchone()
            assert made is not None
            delete_expired(connection, self._settings.retention_days, _MOST_EXPIRED)
        return Conversation(name, made[0], [])

    def read(self, owner: Owner, name: str) -> Conversation:
        """A conversation of its owner, or UnknownConversationError."""
        with self._pool.connection() as connection:
            sought = f"SELECT created FROM sluice_conversations WHERE id = %s AND {_OWNED}"
            found = connection.execute(sought, (name, *astuple(owner))).fetchone()
            if found is None:
                raise UnknownConversationError
            return Conversation(name, found[0], _messages(connection, name))

    def delete(self, owner: Owner, name: str) -> None:
        """Deletes a conversation of its owner, or raises UnknownConversationError."""
        with self._pool.connection() as connection:
            if not delete_where(connection, f"id = %s AND {_OWNED}", (name, *astuple(owner))):
                raise UnknownConversationError

    def begin(self, owner: Owner, name: str | None, trace: str, seconds: float) -> Messages:
        """Notes that an answer is the owner's, and takes the conversation for it.

        Args:
            owner: whose it is.
            name: of the conversation; None: the answer is of none.
            trace: of the answer.
            seconds: after which a process that has died holds the conversation no longer.

        Returns:
            The messages so far.

        Raises:
            UnknownConversationError: the owner has none of that name.
            BusyConversationError: another answer is being made.
        """
        with self._pool.connection() as connection:
            if name is not None:
                taken = connection.execute(
                    "UPDATE sluice_conversations SET used = now(), busy_until = now() + make_interval(secs => %s)"
                    f" WHERE id = %s AND {_OWNED} AND (busy_until IS NULL OR busy_until < now())",
                    (seconds, name, *astuple(owner)),
                )
                if not taken.rowcount:
                    sought = f"SELECT 1 FROM sluice_conversations WHERE id = %s AND {_OWNED}"
                    there = connection.execute(sought, (name, *astuple(owner))).fetchone()
                    raise UnknownConversationError if there is None else BusyConversationError
            connection.execute(
                "INSERT INTO sluice_answers (trace, tenant, key, person) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT DO NOTHING",  # callers may give a trace id of their own twice
                (trace, *astuple(owner)),
            )
            return _messages(connection, name) if name is not None else []

    def end(self, name: str, turn: Messages) -> None:
        """Adds the messages of an answer, and gives the conversation free; nothing, where it was deleted meanwhile.

        Args:
            name: of the conversation.
            turn: question and answer; empty where there is none to keep.
        """
        with self._pool.connection() as connection, connection.transaction():
            freed = "UPDATE sluice_conversations SET busy_until = NULL WHERE id = %s"
            if connection.execute(freed, (name,)).rowcount and turn:
                _write(connection, name, [*_messages(connection, name), *turn])

    def delete_person(self, owner: Owner) -> int:
        """Deletes the conversations of a person, and notes that traces and feedback are to be erased as well.

        Args:
            owner: the person.

        Returns:
            The number of conversations.
        """
        with self._pool.connection() as connection, connection.transaction():
            connection.execute("INSERT INTO sluice_erasures VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", astuple(owner))
            return len(delete_where(connection, _OWNED, astuple(owner)))


def delete_where(connection: psycopg.Connection[Any], condition: str, values: Sequence[Any]) -> list[str]:
    """Deletes conversations with their messages.

    Args:
        connection: to the store.
        condition: on rows of sluice_conversations; SQL of ours.
        values: of its placeholders.

    Returns:
        Their ids.
    """
    with connection.transaction():
        # By statements of their own: they see what an answer has written that the first one waited for.
        gone = connection.execute(f"DELETE FROM sluice_conversations WHERE {condition} RETURNING id", values).fetchall()
        names = [str(row[0]) for row in gone]
        for table in _TABLES if names else ():
            connection.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", (names,))
    return names


def delete_expired(connection: psycopg.Connection[Any], days: int, most: int) -> int:
    """Deletes conversations without a turn for so many days.

    Args:
        connection: to the store.
        days: since the last turn.
        most: how many at once.

    Returns:
        How many.
    """
    expired = "id IN (SELECT id FROM sluice_conversations WHERE used < now() - make_interval(days => %s) LIMIT %s)"
    return len(delete_where(connection, expired, (days, most)))


def texts_of(connection: psycopg.Connection[Any], condition: str, values: Sequence[Any]) -> list[str]:
    """The texts of conversations. Arguments as of `delete_where`."""
    sought = connection.execute(f"SELECT id FROM sluice_conversations WHERE {condition}", values).fetchall()
    return [message["content"] for (name,) in sought for message in _messages(connection, str(name))]


def _messages(connection: psycopg.Connection[Any], name: str) -> Messages:
    found = PostgresSaver(connection).get(_config(name))
    return list(found["channel_values"][_CHANNEL]) if found else []


def _write(connection: psycopg.Connection[Any], name: str, messages: Messages) -> None:
    saver: Any = PostgresSaver(connection)
    before = saver.get(_config(name))
    version = saver.get_next_version(before["channel_versions"][_CHANNEL] if before else None, None)
    checkpoint = {**empty_checkpoint(), "channel_values": {_CHANNEL: messages}, "channel_versions": {_CHANNEL: version}}
    saver.put(
        _config(name), checkpoint, {"source": "update", "step": len(messages), "parents": {}}, {_CHANNEL: version}
    )
    for statement in _OLDER:
        connection.execute(statement, {"id": name, "checkpoint": checkpoint["id"]})


def _config(name: str) -> Any:
    return {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
