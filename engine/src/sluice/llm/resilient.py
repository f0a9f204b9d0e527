"""A provider with its limits: concurrency, circuit breaker, retries, and a timeout for the first token."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.circuit_breaker import BreakerTicket, CircuitBreaker, State
from sluice.llm.concurrency_limit import ConcurrencyLimit
from sluice.llm.provider_attempts import Observer, ProviderAttempt
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters

_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds


class ResilientProvider:
    """Retries only before the first token. Its errors carry the provider's name."""

    def __init__(
        self,
        spec: ProviderSpec,
        provider: ChatProvider,
        *,
        clock: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.name = spec.name
        self._spec = spec
        self._provider = provider
        self._breaker = CircuitBreaker(spec.breaker, clock)
        self._slots = ConcurrencyLimit(spec.max_concurrency)
        self._observers = observers

    @property
    def state(self) -> State:
        return self._breaker.state

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        now = asyncio.get_running_loop().time
        first_by = min(deadline, now() + self._spec.timeouts.first_token)
        for number in range(self._spec.retries + 1):
            started = False
            attempt = self._attempt(messages, parameters, first_by, deadline)
            try:
                async with aclosing(attempt):
                    async for delta in attempt:
                        started = True
                        yield delta
                return
            except ProviderError as error:
                wait = pause(number, error.retry_after)
                last = number == self._spec.retries or now() + wait >= first_by
                if started or last or not error.rule.retry:
                    raise
            await asyncio.sleep(wait)

    async def _attempt(
        self, messages: Messages, parameters: ModelParameters, first_by: float, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        now = asyncio.get_running_loop().time
        if self._breaker.state == "open":
            raise self._is_open()
        async with self._slots.acquire(min(first_by, now() + self._spec.timeouts.queue)):
            if (ticket := self._breaker.admit()) is None:
                raise self._is_open()
            record, began = ProviderAttempt(self.name, self._spec.model), now()
            succeeded: bool | None = None
            stream = self._provider.stream(messages, parameters, deadline=deadline)
            try:
                async with aclosing(stream):
                    delta = await self._first(stream, first_by, deadline)
                    record.first_token_seconds = now() - began
                    succeeded = True
                    if ticket.probe:  # the others need not wait for the end of this answer
                        self._breaker.settle(ticket, succeeded)
                        ticket = BreakerTicket(probe=False)
                    yield self._signed(delta, record)
                    async for delta in stream:
                        yield self._signed(delta, record)
            except ProviderError as error:
                cut = record.first_token_seconds is not None and error.failure is not FailureKind.DEADLINE
                failed = error.at(self.name, failure=FailureKind.CUT if cut else None)
                record.outcome = failed.failure
                succeeded = False if failed.rule.counts else None
                raise failed from error
            finally:
                self._breaker.settle(ticket, succeeded)
                record.seconds = now() - began
                self._report(record)

    async def _first(self, stream: AsyncGenerator[Delta, None], first_by: float, deadline: float) -> Delta:
        try:
            async with asyncio.timeout_at(first_by):
                return await anext(stream)
        except TimeoutError:
            if first_by >= deadline:
                raise ProviderError(FailureKind.DEADLINE, "no answer before the deadline") from None
            seconds = self._spec.timeouts.first_token
            raise ProviderError(FailureKind.SLOW, f"no first token within {seconds:g} s") from None
        except StopAsyncIteration:
            raise ProviderError(FailureKind.GARBAGE, "an answer that never ended") from None

    def _signed(self, delta: Delta, record: ProviderAttempt) -> Delta:
        """The last piece with the provider's name, the model and the price; all others as they are."""
        if delta.finish_reason is None:
            return delta
        record.outcome, record.usage, record.cost = "answered", delta.usage, self._spec.prices.cost(delta.usage)
        return delta._replace(provider=self.name, model=self._spec.model, cost=record.cost)

    def _is_open(self) -> ProviderError:
        return ProviderError(FailureKind.OPEN, "skipped after too many failures").at(self.name)

    def _report(self, attempt: ProviderAttempt) -> None:
        for observe in self._observers:
            try:
                observe(attempt)
            except Exception:  # who counts must not cost anybody an answer
                _log.exception("an observer of attempts failed")


def pause(attempt: int, retry_after: float | None) -> float:
    """Seconds to wait after the attempt with this number (0 is the first): exponential, and at least as long as the
    provider asked for. Half of it is drawn by chance, so that callers that failed together do not come back together.
    """
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    drawn = random.uniform(longest / 2, longest)
    return drawn if retry_after is None else max(drawn, retry_after + random.uniform(0, _FIRST_PAUSE))
