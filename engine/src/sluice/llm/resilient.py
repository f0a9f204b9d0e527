"""A provider with its limits: concurrency, circuit breaker, retries, and a timeout for the first token."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.circuit_breaker import BreakerTicket, CircuitBreaker, State
from sluice.llm.concurrency_limit import ConcurrencyLimit
from sluice.llm.provider_attempts import Observer, ProviderAttempt
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.retry_delay import pause
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters

_log = logging.getLogger(__name__)


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
            record = _AttemptRecord(now())
            succeeded: bool | None = None
            stream = self._provider.stream(messages, parameters, deadline=deadline)
            try:
                async with aclosing(stream):
                    delta = await self._first(stream, first_by, deadline)
                    record.first = now()
                    succeeded = True
                    if ticket.probe:  # the others need not wait for the end of this answer
                        self._breaker.settle(ticket, succeeded)
                        ticket = BreakerTicket(probe=False)
                    yield self._signed(delta, record)
                    async for delta in stream:
                        yield self._signed(delta, record)
            except ProviderError as error:
                cut = record.first is not None and error.failure is not FailureKind.DEADLINE
                failed = error.at(self.name, failure=FailureKind.CUT if cut else None)
                record.outcome = failed.failure
                succeeded = False if failed.rule.counts else None
                raise failed from error
            finally:
                self._breaker.settle(ticket, succeeded)
                self._report(record, now())

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
            raise ProviderError(FailureKind.GARBAGE, "an answer without an end") from None

    def _signed(self, delta: Delta, record: _AttemptRecord) -> Delta:
        """The last piece with the provider's name, the model and the price; all others as they are."""
        if delta.finish_reason is None:
            return delta
        record.outcome = "answered"
        record.last = delta._replace(
            provider=self.name, model=self._spec.model, cost=self._spec.prices.cost(delta.usage)
        )
        return record.last

    def _is_open(self) -> ProviderError:
        return ProviderError(FailureKind.OPEN, "left alone after too many failures").at(self.name)

    def _report(self, record: _AttemptRecord, now: float) -> None:
        attempt = ProviderAttempt(
            provider=self.name,
            model=self._spec.model,
            outcome=record.outcome,
            seconds=now - record.began,
            first_token_seconds=None if record.first is None else record.first - record.began,
            usage=record.last.usage if record.last else None,
            cost=record.last.cost if record.last else None,
        )
        for observe in self._observers:
            try:
                observe(attempt)
            except Exception:  # who counts must not cost anybody an answer
                _log.exception("an observer of attempts failed")


class _AttemptRecord:
    """What is known of an attempt so far; times of the event loop's clock."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.first: float | None = None
        self.last: Delta | None = None
        self.outcome: str = "abandoned"
