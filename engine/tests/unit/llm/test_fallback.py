from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sluice.llm.provider_failures import FailureKind, ProviderError
from support.event_loop import run
from support.providers.clients import ask, chat_over, collect, text, unasked, watched
from support.providers.server import TEXT, Upstream

Servers = Callable[..., list[Upstream]]
SHORT = {"timeouts": {"connect": 1, "queue": 0, "first_token": 0.3}}


def test_the_first_answers_and_the_second_is_not_asked(servers: Servers) -> None:
    running = servers("normal", "normal")
    assert ask(chat_over(running))[-1].provider == "a"
    assert not running[1].asked


@pytest.mark.parametrize(
    "fault",
    ["status:500", "status:401", "reset", "garbage", "hang"],
)
def test_the_second_answers_when_the_first_fails(servers: Servers, fault: str) -> None:
    deltas = ask(chat_over(servers(fault, "normal"), SHORT))
    assert (text(deltas), deltas[-1].provider) == (TEXT, "b")


def test_a_refused_request_is_refused_everywhere(servers: Servers) -> None:
    running = servers("status:400", "normal")
    with pytest.raises(ProviderError, match="a: HTTP 400"):
        ask(chat_over(running))
    assert not running[1].asked


def test_the_deadline_is_shared(servers: Servers) -> None:
    running = servers("hang", "hang", "hang")
    chat = chat_over(running, SHORT, SHORT)

    async def read() -> float:
        now = asyncio.get_running_loop().time
        began = now()
        with pytest.raises(ProviderError) as caught:
            await collect(chat, seconds=0.8)
        assert caught.value.failure is FailureKind.DEADLINE
        return now() - began

    assert run(read(), held=unasked(*running)) < 3
    assert [len(server.asked) for server in running] == [1, 1, 1]


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


@pytest.mark.parametrize("fault", ["status:500", "reset", "late:30"])
def test_nearly_all_of_400_requests_are_answered_while_the_first_fails(servers: Servers, fault: str) -> None:
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

        return sum(await asyncio.gather(*(one() for _ in range(400))))

    assert asyncio.run(many()) >= 398  # 99.5 %
    assert len(running[0].asked) <= 60, "the breaker spares the one that fails"
    assert {attempt.provider for attempt in seen if attempt.outcome == "answered"} == {"b"}


def test_the_first_is_asked_again_once_it_has_recovered(servers: Servers) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    running = servers("status:500", "normal")
    chat = chat_over(running, clock=clock)

    async def scene() -> None:
        for _ in range(20):
            assert (await collect(chat))[-1].provider == "b"
        assert chat.states == {"a": "open", "b": "closed"}
        running[0].script = ["normal"]
        clock.now += 1000
        assert (await collect(chat))[-1].provider == "a"
        assert chat.states["a"] == "closed"

    asyncio.run(scene())
