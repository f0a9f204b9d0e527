"""The fallback over the providers of a role: the first that sends a token answers; after that no other is tried."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from sluice.llm.chat import Delta, Messages
from sluice.llm.circuit_breaker import State
from sluice.llm.provider_attempts import Observer
from sluice.llm.provider_failures import ProviderError
from sluice.llm.resilient import ResilientProvider
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
        """The answer of the first provider that gives one.

        Args:
            messages: as for every `ChatProvider`.
            parameters: of the prompt.
            deadline: of the whole answer, by any provider; a time of the event loop's clock.

        Raises:
            ProviderError: the last failure, in the words of all of them.
        """
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
        raise _all_of(failed)


def _all_of(failed: Sequence[ProviderError]) -> ProviderError:
    """The last failure, with the words of all of them and the shortest time that one of them asked to wait."""
    waits = [error.retry_after for error in failed if error.retry_after is not None]
    return ProviderError(
        failed[-1].failure, "; ".join(error.message for error in failed), retry_after=min(waits, default=None)
    )
