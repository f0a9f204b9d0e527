"""A circuit breaker: a failing provider gets no requests for a while, then one trial request.

`admit` before a request, `settle` after it. Times come from the clock that is given, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from sluice.llm.settings import BreakerSettings

State = Literal["closed", "open", "half_open"]


class BreakerTicket(NamedTuple):
    """The leave to send one request. `probe`: it decides whether an open breaker closes."""

    probe: bool


class CircuitBreaker:
    """One provider's breaker. Not for several threads: it belongs to the event loop's."""

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._failed: deque[bool] = deque(maxlen=settings.window)
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return "closed"
        return "open" if self._probing or self._waits() else "half_open"

    def admit(self) -> BreakerTicket | None:
        """A ticket, or None while the provider is left alone. Every ticket must be settled."""
        if self._opened_at is None:
            return BreakerTicket(probe=False)
        if self._probing or self._waits():
            return None
        self._probing = True
        return BreakerTicket(probe=True)

    def settle(self, ticket: BreakerTicket, succeeded: bool | None) -> None:
        """What came of it; None when that says nothing about the provider."""
        if ticket.probe:
            self._probing = False
            if succeeded:
                self._opened_at = None
            elif succeeded is not None:
                self._open()
        elif succeeded is not None and self._opened_at is None:  # what began before it opened decides nothing any more
            self._failed.append(not succeeded)
            if sum(self._failed) >= self._settings.failures:
                self._open()

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._failed.clear()

    def _waits(self) -> bool:
        return self._opened_at is not None and self._clock() - self._opened_at < self._settings.open_seconds
