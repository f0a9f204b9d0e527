"""Tools over a small world of releases and tickets in SQLite: a file that SLUICE_WORLD names, or memory.

Results are sentences, which the passage guardrails can check. After an edit, run `sluice tools pin`."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from sluice.serving.services import tool

_SCRATCH: ContextVar[sqlite3.Connection | None] = ContextVar("scratch", default=None)
_ONE = threading.Lock()  # a tool runs in a thread of its own


@tool
def release_status(release: str = "") -> str:
    """State of a release, its share of the visitors, and why it was stopped; without a name of the latest ones."""
    rows = _rows("SELECT * FROM releases WHERE ? IN ('', id) ORDER BY started DESC LIMIT 5", release)
    said = "Release {id} is {state} since {started}, with {weight} % of the visitors. {reason}"
    return "\n".join(said.format(**row).strip() for row in rows) or f"There is no release {release}."


@tool
def find_tickets(text: str = "", state: str = "open") -> str:
    """Finds tickets by words of their title or the name of their release; `state` is open, closed or any."""
    query = "SELECT * FROM tickets WHERE ? IN ('any', state) AND (title LIKE ? OR release LIKE ?) ORDER BY id LIMIT 10"
    rows = _rows(query, state, f"%{text}%", f"%{text}%")
    said = "Ticket {id} ({state}, release {release}): {title}."
    return "\n".join(said.format(**row) for row in rows) or "No ticket is like that."


@tool
def open_ticket(title: str, release: str, idempotency_key: str) -> str:
    """Opens a ticket about a release."""
    with _ONE, _world() as world:  # the same key twice is one ticket
        world.execute(
            "INSERT OR IGNORE INTO tickets (title, release, state, key) VALUES (?, ?, 'open', ?)",
            (title, release, idempotency_key),
        )
        (number,) = world.execute("SELECT id FROM tickets WHERE key = ?", (idempotency_key,)).fetchone()
    return f"Ticket {number} is open."


@contextmanager
def scratch() -> Iterator[sqlite3.Connection]:
    """A separate world, for one case of the evaluation."""
    world = _made(":memory:")
    token = _SCRATCH.set(world)
    try:
        yield world
    finally:
        _SCRATCH.reset(token)
        world.close()


def _rows(query: str, *values: str) -> list[dict[str, object]]:
    with _ONE:
        return [dict(row) for row in _world().execute(query, values)]


def _world() -> sqlite3.Connection:
    return _SCRATCH.get() or _lasting(os.environ.get("SLUICE_WORLD", ":memory:"))


@cache
def _lasting(path: str) -> sqlite3.Connection:
    return _made(path)


def _made(path: str) -> sqlite3.Connection:
    world = sqlite3.connect(path, check_same_thread=False)
    world.row_factory = sqlite3.Row
    world.executescript(Path(__file__).with_name("world.sql").read_text(encoding="utf-8"))
    return world
