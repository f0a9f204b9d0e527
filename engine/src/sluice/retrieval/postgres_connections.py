"""PostgreSQL connections with a time limit on every use.

psycopg_pool replaces broken connections; added are a limit for a silent server, an immediate error for a second after a
failure, so that threads do not pile up, and a restart of the embedded server.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from sluice.core.errors import SluiceError
from sluice.core.processes import interrupts_deferred
from sluice.retrieval import RetrievalError
from sluice.retrieval.stores import Stores

_PAUSE = 1.0  # seconds between two tries of a server that has failed
_LATER = 0.2  # seconds: PostgreSQL's own limit comes first
_STARTING = 60.0  # seconds: the longest that closing waits for a server that is being started
Configure = Callable[[psycopg.Connection[Any]], None]


class _TimedConnection(psycopg.Connection[Any]):
    """A connection that waits for the server at most `longest` seconds; None: for ever."""

    longest: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, timeout or self.longest)


class BoundedPool:
    """Connections to one store, for many threads."""

    def __init__(
        self, address: str, *, seconds: float, most: int, configure: Configure, revive: Callable[[], None] | None = None
    ) -> None:
        self._seconds = seconds
        self._refuse_until = 0.0

        def limited(connection: _TimedConnection) -> None:
            connection.longest = seconds + _LATER
            configure(connection)
            connection.execute(f"SET statement_timeout = {round(seconds * 1000)}")

        def failed(pool: ConnectionPool[_TimedConnection]) -> None:
            with suppress(SluiceError):  # the next question that fails comes here again
                if revive and not pool.closed:
                    revive()

        with interrupts_deferred():
            self._pool = ConnectionPool(
                address,
                connection_class=_TimedConnection,
                min_size=1,
                max_size=most,
                open=True,
                kwargs={"autocommit": True, **_limits(seconds)},
                configure=limited,
                # Given up soon: the next question begins anew, while the pool itself would wait longer and longer.
                reconnect_timeout=_PAUSE,
                reconnect_failed=failed,
            )

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection; RetrievalError when there is none in time, or it breaks."""
        if time.monotonic() < self._refuse_until:
            raise RetrievalError("PostgreSQL has just failed; it is tried again in a second")
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._pool.putconn(connection)  # the pool replaces one that is broken, or still busy
        except psycopg.errors.QueryCanceled:
            raise RetrievalError(f"PostgreSQL took longer than {self._seconds:g} s") from None
        except psycopg.Error as error:
            if error.sqlstate is not None and not isinstance(error, psycopg.OperationalError):
                raise  # the server has understood and said no: a defect of the statement
            self._refuse_until = time.monotonic() + _PAUSE
            raise RetrievalError(f"PostgreSQL cannot be reached: {type(error).__name__}") from error

    def close(self) -> None:
        """Wait for a server that is being started, so that the owner of the store can stop it."""
        self._pool.close(timeout=_STARTING)

    def _take(self) -> _TimedConnection:
        """Return an open connection; the pool's own check would pause a second after each closed one."""
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


@contextmanager
def connected(stores: Stores, address: str, *, wait: float = 0.0) -> Iterator[psycopg.Connection[Any]]:
    end = time.monotonic() + wait
    try:
        with _connect(address, stores.chosen.timeout_seconds, end) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise SluiceError(
            f"config/stores.yaml: store {stores.default!r} cannot be reached: {str(error).strip()}",
            remedy="check its address and that the server runs",
        ) from error


def _connect(address: str, seconds: float, end: float) -> psycopg.Connection[Any]:
    while True:
        try:
            return psycopg.connect(address, autocommit=True, **_limits(seconds))
        except psycopg.OperationalError:
            if time.monotonic() + _PAUSE > end:
                raise
        time.sleep(_PAUSE)


def _limits(seconds: float) -> dict[str, Any]:
    """Return connection parameters: how long to connect, and when the kernel gives a silent peer up."""
    return {
        "connect_timeout": max(2, round(seconds)),  # libpq's smallest
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
