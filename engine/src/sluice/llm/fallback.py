"""The providers of a role of config/providers.yaml as one: the first that sends a token answers; after that no other is
tried."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from sluice.llm.chat import Delta, Messages
from sluice.llm.circuit_breaker import State
from sluice.llm.provider_attempts import Observer
from sluice.llm.provider_failures import ProviderError
from sluice.llm.providers import connect
from sluice.llm.providers.context import ProviderContext
from sluice.llm.resilient import ResilientProvider
from sluice.llm.settings import ProviderSpec
from sluice.llm.template_tokens import read_as_text
from sluice.prompts import ModelParameters

_log = logging.getLogger(__name__)


class FallbackProvider:
    """`observers`: callbacks for every attempt; append to it. They are called in the event loop."""

    def __init__(self, providers: Sequence[ResilientProvider], observers: list[Observer]) -> None:
        self._providers = providers
        self.observers = observers

    @property
    def states(self) -> Mapping[str, State]:
        """The state of each provider's breaker, in the order in which they are asked."""
        return {provider.name: provider.state for provider in self._providers}

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        """The answer of the first provider that gives one."""
        failed: list[ProviderError] = []
        messages = read_as_text(messages)
        if tools := getattr(parameters, "tools", ()):
            parameters = parameters.model_copy(update={"tools": tuple(read_as_text(tools))})
        for provider in self._providers:
            started = False
            stream = provider.stream(messages, parameters, deadline=deadline)
            try:
                async with aclosing(stream):
                    async for delta in stream:
                        started = True
                        yield delta
                return
            except ProviderError as error:
                if started or not error.rule.fall_over:
                    raise
                _log.warning("no answer: %s", error.message)
                failed.append(error)
        waits = [error.retry_after for error in failed if error.retry_after is not None]
        said = "; ".join(error.message for error in failed)
        raise ProviderError(failed[-1].failure, said, retry_after=min(waits, default=None))


def open_chat(
    specs: Sequence[ProviderSpec], *, local_url: str | None, clock: Callable[[], float] = time.monotonic
) -> FallbackProvider:
    """Opens the providers of a role as one. Nothing is sent yet."""
    observers: list[Observer] = []
    guarded = [
        ResilientProvider(spec, connect(ProviderContext(spec, local_url)), clock=clock, observers=observers)
        for spec in specs
    ]
    return FallbackProvider(guarded, observers)
