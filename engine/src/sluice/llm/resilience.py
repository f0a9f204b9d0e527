"""The providers of a role as one: each with a concurrency limit, a circuit breaker, retries and timeouts.

The first that sends a token answers; after that no other is tried."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from sluice.llm.chat import ChatProvider, Delta, Messages, Usage, read_as_text
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers import ProviderContext, connect
from sluice.llm.settings import BreakerSettings, ProviderSpec
from sluice.prompts import ModelParameters


@dataclass
class ProviderAttempt:
    """The figures of one attempt, without texts. `outcome` is answered, abandoned (the caller went away) or a
    FailureKind; `cost` is in US dollars."""

    provider: str
    model: str
    outcome: str = "abandoned"
    seconds: float = 0.0
    first_token_seconds: float | None = None
    usage: Usage | None = None
    cost: float | None = None


Observer = Callable[[ProviderAttempt], None]


State = Literal["closed", "open", "half_open"]
Ticket = Literal["usual", "probe"]  # to send one request; a probe decides whether an open breaker closes


class CircuitBreaker:
    """Not thread-safe."""

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

    def admit(self) -> Ticket | None:
        """Return a ticket, which must be settled, or None while the provider is left alone."""
        if self._opened_at is None:
            return "usual"
        if self._probing or self._waits():
            return None
        self._probing = True
        return "probe"

    def settle(self, ticket: Ticket, succeeded: bool | None) -> None:
        """Note the result; None says nothing about the provider."""
        if ticket == "probe":
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


_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds


class ResilientProvider:
    def __init__(
        self,
        spec: ProviderSpec,
        provider: ChatProvider,
        *,
        clock: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self._provider = provider
        self.breaker = CircuitBreaker(spec.breaker, clock)
        # For each event loop, because a semaphore belongs to one.
        self._permits: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._observers = observers

    @asynccontextmanager
    async def _permit(self, until: float) -> AsyncIterator[None]:
        """Hold one of `max_concurrency`. FailureKind.FULL if none is free before `until`."""
        loop, most = asyncio.get_running_loop(), self.spec.max_concurrency
        began = loop.time()
        if (permits := self._permits.get(loop)) is None:
            permits = self._permits[loop] = asyncio.Semaphore(most)
        try:
            async with asyncio.timeout_at(until if permits.locked() else None):
                await permits.acquire()
        except TimeoutError:
            what = f"{most} requests are being answered already"
            raise ProviderError(FailureKind.FULL, what, retry_after=max(1, until - began)) from None
        try:
            yield
        finally:
            permits.release()

    @asynccontextmanager
    async def attempt(
        self, messages: Messages, parameters: ModelParameters, first_by: float, deadline: float
    ) -> AsyncIterator[tuple[Delta, AsyncGenerator[Delta, None], ProviderAttempt]]:
        """Ask once. Gives the first piece, the others, and the record for `signed`; leaving ends the attempt."""
        now = asyncio.get_running_loop().time
        if self.breaker.state == "open":
            raise self._is_open()
        async with self._permit(min(first_by, now() + self.spec.timeouts.queue)):
            if (ticket := self.breaker.admit()) is None:
                raise self._is_open()
            record, began = ProviderAttempt(self.name, self.spec.model), now()
            succeeded: bool | None = None
            stream = self._provider.stream(messages, parameters, deadline=deadline)
            try:
                async with aclosing(stream):
                    delta = await self._first(stream, first_by, deadline)
                    record.first_token_seconds = now() - began
                    succeeded = True
                    if ticket == "probe":  # the others need not wait for the end of this answer
                        self.breaker.settle(ticket, succeeded)
                        ticket = "usual"
                    yield delta, stream, record
            except ProviderError as error:
                cut = record.first_token_seconds is not None and error.failure is not FailureKind.DEADLINE
                failed = error.at(self.name, failure=FailureKind.CUT if cut else None)
                record.outcome = failed.failure
                succeeded = False if failed.rule.counts else None
                raise failed from error
            finally:
                self.breaker.settle(ticket, succeeded)
                record.seconds = now() - began
                self._report(record)

    async def _first(self, stream: AsyncGenerator[Delta, None], first_by: float, deadline: float) -> Delta:
        try:
            async with asyncio.timeout_at(first_by):
                return await anext(stream)
        except TimeoutError:
            if first_by >= deadline:
                raise ProviderError(FailureKind.DEADLINE, "no answer before the deadline") from None
            seconds = self.spec.timeouts.first_token
            raise ProviderError(FailureKind.SLOW, f"no first token within {seconds:g} s") from None
        except StopAsyncIteration:
            raise ProviderError(FailureKind.GARBAGE, "an answer that never ended") from None

    def signed(self, delta: Delta, record: ProviderAttempt) -> Delta:
        """Add the provider's name, the model and the price to the last piece."""
        if delta.finish_reason is None:
            return delta
        record.outcome, record.usage, record.cost = "answered", delta.usage, self.spec.prices.cost(delta.usage)
        return delta._replace(provider=self.name, model=self.spec.model, cost=record.cost)

    def _is_open(self) -> ProviderError:
        return ProviderError(FailureKind.OPEN, "skipped after too many failures").at(self.name)

    def _report(self, attempt: ProviderAttempt) -> None:
        for observe in self._observers:
            try:
                observe(attempt)
            except Exception:  # who counts must not cost anybody an answer
                _log.exception("an observer of attempts failed")


def pause(attempt: int, retry_after: float | None) -> float:
    """Return the seconds to wait after an attempt, counted from 0: exponential, and at least as long as the provider
    asked for. Half of it is random, so that callers that failed together don't come back together."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    drawn = random.uniform(longest / 2, longest)
    return drawn if retry_after is None else max(drawn, retry_after + random.uniform(0, _FIRST_PAUSE))


class FallbackProvider:
    """`observers` are called in the event loop after every attempt."""

    def __init__(self, providers: Sequence[ResilientProvider], observers: list[Observer]) -> None:
        self._providers = providers
        self.observers = observers

    @property
    def states(self) -> Mapping[str, State]:
        return {provider.name: provider.breaker.state for provider in self._providers}

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        failed: list[ProviderError] = []
        messages = read_as_text(messages)
        if tools := getattr(parameters, "tools", ()):
            parameters = parameters.model_copy(update={"tools": tuple(read_as_text(tools))})
        now = asyncio.get_running_loop().time
        for provider in self._providers:
            first_by = min(deadline, now() + provider.spec.timeouts.first_token)
            for number in range(provider.spec.retries + 1):
                started = False
                try:
                    async with provider.attempt(messages, parameters, first_by, deadline) as (first, rest, record):
                        started = True
                        yield provider.signed(first, record)
                        async for delta in rest:
                            yield provider.signed(delta, record)
                    return
                except ProviderError as error:
                    wait = pause(number, error.retry_after)
                    again = error.rule.retry and number < provider.spec.retries and now() + wait < first_by
                    if started or not (again or error.rule.fall_over):
                        raise
                    if not again:
                        _log.warning("no answer: %s", error.message)
                        failed.append(error)
                        break
                await asyncio.sleep(wait)
        waits = [error.retry_after for error in failed if error.retry_after is not None]
        said = "; ".join(error.message for error in failed)
        raise ProviderError(failed[-1].failure, said, retry_after=min(waits, default=None))


def open_chat(
    specs: Sequence[ProviderSpec], *, local_url: str | None, clock: Callable[[], float] = time.monotonic
) -> FallbackProvider:
    observers: list[Observer] = []
    guarded = [
        ResilientProvider(spec, connect(ProviderContext(spec, local_url)), clock=clock, observers=observers)
        for spec in specs
    ]
    return FallbackProvider(guarded, observers)
