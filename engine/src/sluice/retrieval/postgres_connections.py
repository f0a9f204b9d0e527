"""A PostgreSQL connection pool with a time limit on every use, even when the server hangs.

The driver reports refused, reset and slow connections. A hanging server reports nothing, so a watchdog closes the
socket of an overdue call. After a failure calls fail immediately for a second, and then one of them tries again:
threads do not pile up on a dead server, and the first success reopens the pool. The embedded server is restarted
meanwhile.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from sluice.core.errors import SluiceError
from sluice.core.processes import interrupts_deferred
from sluice.retrieval.stores import Stores

_PAUSE = 1.0  # seconds between two tries of a server that has failed
_LOOK = 0.1  # seconds between two looks of the watchdog
Configure = Callable[[psycopg.Connection[Any]], None]


class RetrievalError(SluiceError):
    """The store did not answer, or not in time."""


class BoundedPool:
    """A pool with a time limit. `seconds`: for getting a connection, and again for using it. `revive`: starts the
    server again if it does not run; called beside the questions, after one of them has failed."""

    def __init__(
        self,
        pool: ConnectionPool[psycopg.Connection[Any]],
        seconds: float,
        revive: Callable[[], None] | None = None,
    ) -> None:
        self._pool = pool
        self._revive = revive
        self._reviving = threading.Lock()
        self._seconds = seconds
        self._lock = threading.Lock()
        self._in_use: dict[int, tuple[float, psycopg.Connection[Any]]] = {}
        self._refuse_until = 0.0
        self._closed = threading.Event()
        with interrupts_deferred():
            threading.Thread(target=self._watch, name="postgresql-watchdog", daemon=True).start()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for one statement or a few. RetrievalError when there is none in time, or it breaks."""
        self._admit()
        try:
            connection = self._take()
            try:
                with self._watched(connection):
                    yield connection
            finally:
                self._pool.putconn(connection)  # the pool replaces one that is broken
        except psycopg.errors.QueryCanceled:
            raise RetrievalError(f"PostgreSQL took longer than {self._seconds:g} s") from None
        except psycopg.Error as error:
            if error.sqlstate is not None and not isinstance(error, psycopg.OperationalError):
                raise  # the server has understood and said no: a defect of the statement
            with self._lock:
                self._refuse_until = time.monotonic() + _PAUSE
            self._revive_beside()
            raise RetrievalError(f"PostgreSQL cannot be reached: {type(error).__name__}") from error
        self._refuse_until = 0.0

    def close(self) -> None:
        """Waits for a server that is being started, so that the owner of the store can stop it."""
        self._closed.set()
        with self._reviving:
            pass

    def _revive_beside(self) -> None:
        """Starting takes longer than a question may wait."""
        if self._revive is None or not self._reviving.acquire(blocking=False):
            return

        def revive(start: Callable[[], None] = self._revive) -> None:
            try:
                with suppress(SluiceError):  # the next question that fails comes here again
                    if not self._closed.is_set():
                        start()
            finally:
                self._reviving.release()

        threading.Thread(target=revive, name="postgresql-revival", daemon=True).start()

    def _take(self) -> psycopg.Connection[Any]:
        """One that the server has not closed meanwhile. An idle one has nothing to read, so asking costs no round trip;
        the pool's own check would pause a second after each that fails."""
        end = time.monotonic() + self._seconds
        while True:
            connection = self._pool.getconn(timeout=max(0.0, end - time.monotonic()))
            if not connection.closed:
                poll = select.poll()
                poll.register(connection.fileno(), select.POLLIN)
                if not poll.poll(0):
                    return connection
                connection.close()
            self._pool.putconn(connection)

    def _admit(self) -> None:
        if not self._refuse_until:
            return
        with self._lock:
            now = time.monotonic()
            if now < self._refuse_until:
                raise RetrievalError("PostgreSQL has just failed; it is tried again in a second")
            # This question tries for all; the others are refused until it has come through or given up.
            self._refuse_until = now + 2 * self._seconds + _PAUSE

    @contextmanager
    def _watched(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        key = id(connection)
        with self._lock:
            self._in_use[key] = (time.monotonic() + self._seconds, connection)
        try:
            yield
        finally:
            with self._lock:
                del self._in_use[key]

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK):
            # Under the lock: once given back a connection may be in other hands.
            with self._lock:
                now = time.monotonic()
                for overdue, connection in self._in_use.values():
                    # PostgreSQL's own limit comes first; this one is for a server that does not keep it.
                    if now > overdue + 2 * _LOOK:
                        _shut(connection)


def open_pool(
    address: str, *, seconds: float, most: int, configure: Configure
) -> ConnectionPool[psycopg.Connection[Any]]:
    """A pool of up to `most` connections that have time limits of their own. `configure` is run on each new one."""

    def configure_with_limit(connection: psycopg.Connection[Any]) -> None:
        configure(connection)
        connection.execute(f"SET statement_timeout = {round(seconds * 1000)}")

    with interrupts_deferred():
        return ConnectionPool(
            address,
            min_size=1,
            max_size=most,
            open=True,
            kwargs={"autocommit": True, **limits(seconds)},
            configure=configure_with_limit,
            # Given up soon: the next question begins anew, while the pool itself would wait longer and longer.
            reconnect_timeout=_PAUSE,
        )


@contextmanager
def connected(
    stores: Stores, address: str, *, autocommit: bool = True, wait: float = 0.0
) -> Iterator[psycopg.Connection[Any]]:
    """One connection to the default store, which is at `address`, for a task. `wait`: seconds for a server that is
    just starting. SluiceError names the store when it cannot be reached, or is lost on the way."""
    end = time.monotonic() + wait
    try:
        with _connect(address, autocommit, stores.chosen.timeout_seconds, end) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise SluiceError(
            f"config/stores.yaml: store {stores.default!r} cannot be reached: {str(error).strip()}",
            remedy="check its address and that the server runs",
        ) from error


def _connect(address: str, autocommit: bool, seconds: float, end: float) -> psycopg.Connection[Any]:
    while True:
        try:
            return psycopg.connect(address, autocommit=autocommit, **limits(seconds))
        except psycopg.OperationalError:
            if time.monotonic() + _PAUSE > end:
                raise
        time.sleep(_PAUSE)


def limits(seconds: float) -> dict[str, Any]:
    """Connection parameters: how long to connect, and when a silent peer is given up by the kernel."""
    return {
        "connect_timeout": max(2, round(seconds)),  # libpq's smallest
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def _shut(connection: psycopg.Connection[Any]) -> None:
    """Wakes the thread that waits for this connection, with an error."""
    with suppress(OSError, psycopg.Error):
        handle = os.dup(connection.fileno())
        with socket.socket(fileno=handle) as twin:
            twin.shutdown(socket.SHUT_RDWR)
