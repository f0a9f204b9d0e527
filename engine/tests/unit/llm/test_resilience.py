"""Providers with their limits, and several of them as one, against scripted servers."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest

from sluice.llm.chat import Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.resilience import CircuitBreaker
from sluice.llm.settings import BreakerSettings
from support.event_loop import run
from support.providers.clients import MESSAGES, PARAMETERS, ask, chat_over, collect, text, unasked, watched
from support.providers.server import TEXT, Upstream


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, *, window: int = 20, failures: int = 10, open_seconds: float = 5) -> CircuitBreaker:
    return CircuitBreaker(BreakerSettings(window=window, failures=failures, open_seconds=open_seconds), clock)


def attempt(breaker: CircuitBreaker, succeeded: bool | None) -> bool:
    """One request; False when it was not admitted."""
    if (ticket := breaker.admit()) is None:
        return False
    breaker.settle(ticket, succeeded)
    return True


def test_after_a_while_one_request_is_let_through_and_its_success_closes(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    attempt(breaker, False)
    clock.now += 4.9
    assert breaker.admit() is None
    clock.now += 0.2
    assert breaker.state == "half_open"
    probe = breaker.admit()
    assert probe == "probe"
    assert breaker.admit() is None, "one at a time"
    breaker.settle(probe, True)
    assert breaker.state == "closed"
    assert attempt(breaker, True)


def test_a_probe_that_fails_opens_it_again_for_the_whole_time(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    attempt(breaker, False)
    clock.now += 5
    assert attempt(breaker, False)
    clock.now += 4.9
    assert not attempt(breaker, True)
    clock.now += 0.1
    assert attempt(breaker, True)
    assert breaker.state == "closed"


def test_what_began_before_it_opened_neither_closes_nor_prolongs(clock: Clock) -> None:
    breaker = make(clock, failures=1)
    early, other = breaker.admit(), breaker.admit()
    assert early is not None
    assert other is not None
    attempt(breaker, False)
    breaker.settle(early, True)
    assert breaker.state == "open"
    clock.now += 4
    breaker.settle(other, False)
    clock.now += 1
    assert breaker.state == "half_open"


Servers = Callable[..., list[Upstream]]


@pytest.mark.parametrize("fault", ["status:429", "reset"])
def test_what_may_pass_is_tried_again(servers: Servers, fault: str) -> None:
    running = servers(f"{fault} {fault} normal")
    chat = chat_over(running, {"retries": 2})
    seen = watched(chat)
    assert text(ask(chat)) == TEXT
    assert len(running[0].asked) == 3
    assert [attempt.outcome for attempt in seen][-1] == "answered"
    assert len({attempt.outcome for attempt in seen[:2]}) == 1


def test_no_more_often_than_allowed(servers: Servers) -> None:
    running = servers("status:500")
    with pytest.raises(ProviderError, match="a: HTTP 500") as caught:
        ask(chat_over(running, {"retries": 2}))
    assert caught.value.failure is FailureKind.SERVER_ERROR
    assert len(running[0].asked) == 3


@pytest.mark.parametrize("fault", ["cut", "late_error"])
def test_nothing_is_tried_again_after_the_first_token(servers: Servers, fault: str) -> None:
    running = servers(f"{fault} normal", "normal")
    chat = chat_over(running, {"retries": 5})
    received: list[str] = []

    async def read() -> None:
        deadline = asyncio.get_running_loop().time() + 120
        async for delta in chat.stream(MESSAGES, PARAMETERS, deadline=deadline):
            received.append(delta.text)

    with pytest.raises(ProviderError) as caught:
        asyncio.run(read())
    assert caught.value.failure is FailureKind.CUT
    assert TEXT.startswith("".join(received))
    assert received
    assert [len(server.asked) for server in running] == [1, 0]


def test_the_time_a_provider_asks_for_is_waited(servers: Servers) -> None:
    running = servers("busy:0.4 normal")
    began = time.monotonic()
    assert text(ask(chat_over(running, {"retries": 1}))) == TEXT
    assert time.monotonic() - began >= 0.4


def test_a_time_that_does_not_fit_is_not_waited_for(servers: Servers) -> None:
    running = servers("busy:3600 normal")
    with pytest.raises(ProviderError) as caught:
        ask(chat_over(running, {"retries": 5}), seconds=1200)
    assert (caught.value.failure, caught.value.retry_after) == (FailureKind.RATE_LIMITED, 3600)
    assert len(running[0].asked) == 1


@pytest.mark.parametrize("fault", ["hang", "late:30"])
def test_no_first_token_in_its_own_time_is_slow(servers: Servers, fault: str) -> None:
    running = servers(fault)
    changes = {"timeouts": {"connect": 2, "queue": 1, "first_token": 0.2}, "retries": 3}
    with pytest.raises(ProviderError, match=r"a: no first token within 0\.2 s") as caught:
        ask(chat_over(running, changes), held=unasked(*running))
    assert caught.value.failure is FailureKind.SLOW
    assert len(running[0].asked) == 1
    assert running[0].asked[0].gone.wait(60)


def test_a_slow_end_is_not_a_slow_start(servers: Servers) -> None:
    changes = {"timeouts": {"connect": 2, "queue": 1, "first_token": 0.4}}
    chat = chat_over(servers("drip:0.15"), changes)
    received: list[str] = []

    async def read() -> float:
        now = asyncio.get_running_loop().time
        began = now()
        async for delta in chat.stream(MESSAGES, PARAMETERS, deadline=began + 120):
            received.append(delta.text)
        return now() - began

    assert run(read(), held=lambda: not received) > 0.4
    assert "".join(received) == TEXT


def test_the_last_piece_says_who_answered_and_what_it_cost(servers: Servers) -> None:
    chat = chat_over(servers("normal"), {"prices": {"input": 3, "output": 15}})
    seen = watched(chat)
    last = ask(chat)[-1]
    cost = (11 * 3 + 3 * 15) / 1e6
    assert (last.provider, last.model, last.usage, last.cost) == ("a", "m", Usage(11, 3), pytest.approx(cost))
    (attempt,) = seen
    assert (attempt.provider, attempt.outcome, attempt.usage) == ("a", "answered", Usage(11, 3))
    assert attempt.cost == last.cost
    assert attempt.first_token_seconds is not None
    assert 0 < attempt.first_token_seconds <= attempt.seconds


def test_an_observer_that_fails_costs_nobody_an_answer(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    chat = chat_over(servers("normal"))
    chat.observers.append(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    seen = watched(chat)
    assert text(ask(chat)) == TEXT
    assert len(seen) == 1
    assert "an observer of attempts failed" in caplog.text


@pytest.mark.parametrize("ending", ["cancel", "close"])
def test_who_goes_away_is_no_mark_against_the_provider(servers: Servers, ending: str) -> None:
    running = servers("hang_in_stream" if ending == "close" else "hang")
    chat = chat_over(running, {"breaker": {"window": 1, "failures": 1, "open_seconds": 60}})
    seen = watched(chat)

    async def leave() -> None:
        stream = chat.stream(MESSAGES, PARAMETERS, deadline=asyncio.get_running_loop().time() + 600)
        async with aclosing(stream):
            if ending == "close":
                await anext(stream)
                return
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await anext(stream)

    run(leave(), held=unasked(*running))
    assert [attempt.outcome for attempt in seen] == ["abandoned"]
    assert chat.states == {"a": "closed"}


def test_the_breaker_opens_within_twenty_failures_and_closes_after_recovery(servers: Servers, clock: Clock) -> None:
    running = servers("cut")
    chat = chat_over(running, clock=clock)

    async def scene() -> None:
        for _ in range(30):
            with pytest.raises(ProviderError):
                await collect(chat)
        assert chat.states == {"a": "open"}
        assert len(running[0].asked) <= 20
        running[0].script = ["normal"]
        with pytest.raises(ProviderError) as caught:
            await collect(chat)
        assert caught.value.failure is FailureKind.OPEN
        clock.now += 1000
        assert text(await collect(chat)) == TEXT
        assert chat.states == {"a": "closed"}

    asyncio.run(scene())


SHORT = {"timeouts": {"connect": 1, "queue": 0, "first_token": 0.3}}


def test_a_refused_request_is_refused_everywhere(servers: Servers) -> None:
    running = servers("status:400", "normal")
    with pytest.raises(ProviderError, match="a: HTTP 400"):
        ask(chat_over(running))
    assert not running[1].asked


def test_when_all_fail_all_are_named_with_the_shortest_wait(servers: Servers) -> None:
    with pytest.raises(ProviderError) as caught:
        ask(chat_over(servers("busy:30", "busy:20", "status:500")))
    error = caught.value
    assert error.message == "a: HTTP 429 (scripted); b: HTTP 429 (scripted); c: HTTP 500 (scripted)"
    assert (error.failure, error.retry_after) == (FailureKind.SERVER_ERROR, 20)


def test_a_full_provider_is_passed_over(servers: Servers) -> None:
    running = servers("late:1", "normal")
    chat = chat_over(running, {"max_concurrency": 1, "timeouts": {"connect": 60, "queue": 0, "first_token": 60}})

    async def both() -> list[str]:
        answers = await asyncio.gather(collect(chat), collect(chat))
        return [deltas[-1].provider for deltas in answers]

    assert asyncio.run(both()) == ["a", "b"]


@pytest.mark.parametrize("fault", ["reset", "late:30"])
def test_nearly_all_requests_are_answered_while_the_first_fails(servers: Servers, fault: str) -> None:
    running = servers(fault, "normal")
    chat = chat_over(running, {**SHORT, "max_concurrency": 8, "retries": 1}, {"max_concurrency": 32, "retries": 1})
    seen = watched(chat)

    async def many() -> int:
        turns = asyncio.Semaphore(16)

        async def one() -> bool:
            async with turns:
                try:
                    return text(await collect(chat)) == TEXT
                except ProviderError:
                    return False

        return sum(await asyncio.gather(*(one() for _ in range(200))))

    assert asyncio.run(many()) >= 199  # 99.5 %
    assert len(running[0].asked) <= 60, "the breaker spares the one that fails"
    assert {attempt.provider for attempt in seen if attempt.outcome == "answered"} == {"b"}
