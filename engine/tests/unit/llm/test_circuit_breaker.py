from __future__ import annotations

import pytest

from sluice.llm.resilience import BreakerTicket, CircuitBreaker
from sluice.llm.settings import BreakerSettings


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, *, window: int = 20, failures: int = 10, open_seconds: float = 5) -> CircuitBreaker:
    return CircuitBreaker(BreakerSettings(window=window, failures=failures, open_seconds=open_seconds), clock)


def run(breaker: CircuitBreaker, succeeded: bool | None) -> bool:
    """One request; False when it was not admitted."""
    if (ticket := breaker.admit()) is None:
        return False
    breaker.settle(ticket, succeeded)
    return True


def test_it_opens_after_so_many_failures_and_not_one_sooner(clock: Clock) -> None:
    breaker = make(clock)
    for _ in range(9):
        assert run(breaker, False)
    assert breaker.state == "closed"
    assert run(breaker, False)
    assert breaker.state == "open"
    assert not run(breaker, True)


def test_after_a_while_one_request_is_let_through_and_its_success_closes(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    run(breaker, False)
    clock.now += 4.9
    assert breaker.admit() is None
    clock.now += 0.2
    assert breaker.state == "half_open"
    probe = breaker.admit()
    assert probe == BreakerTicket(probe=True)
    assert breaker.admit() is None, "one at a time"
    breaker.settle(probe, True)
    assert breaker.state == "closed"
    assert run(breaker, True)


def test_a_probe_that_fails_opens_it_again_for_the_whole_time(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    run(breaker, False)
    clock.now += 5
    assert run(breaker, False)
    clock.now += 4.9
    assert not run(breaker, True)
    clock.now += 0.1
    assert run(breaker, True)
    assert breaker.state == "closed"


def test_a_probe_that_was_called_off_leaves_room_for_the_next(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    run(breaker, False)
    clock.now += 5
    assert run(breaker, None)
    assert breaker.state == "half_open"
    assert run(breaker, True)


def test_what_began_before_it_opened_neither_closes_nor_prolongs(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    early, other = breaker.admit(), breaker.admit()
    assert early is not None
    assert other is not None
    run(breaker, False)
    breaker.settle(early, True)
    assert breaker.state == "open"
    clock.now += 4
    breaker.settle(other, False)
    clock.now += 1
    assert breaker.state == "half_open"


def test_old_failures_are_forgotten_once_it_has_closed(clock: Clock) -> None:
    breaker = make(clock, window=4, failures=2)
    run(breaker, False)
    run(breaker, False)
    clock.now += 5
    run(breaker, True)
    assert run(breaker, False)
    assert breaker.state == "closed"
