"""Opens the providers of a role of config/providers.yaml."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sluice.llm.fallback import FallbackProvider
from sluice.llm.provider_attempts import Observer
from sluice.llm.providers import connect
from sluice.llm.providers.context import ProviderContext
from sluice.llm.resilient import ResilientProvider
from sluice.llm.settings import ProviderSpec


def open_chat(
    specs: Sequence[ProviderSpec], *, local_url: str | None, clock: Callable[[], float] = time.monotonic
) -> FallbackProvider:
    """Opens the providers of a role as one. Nothing is sent yet.

    Args:
        specs: the entries of the role, in the order in which they are asked.
        local_url: of the local llama.cpp, without /v1; None when it does not run.
        clock: of the breakers, in seconds.

    Returns:
        The fallback over them.

    Raises:
        SluiceError: a key, a package or an address is missing.
    """
    observers: list[Observer] = []
    guarded = [
        ResilientProvider(spec, connect(ProviderContext(spec, local_url)), clock=clock, observers=observers)
        for spec in specs
    ]
    return FallbackProvider(guarded, observers)
