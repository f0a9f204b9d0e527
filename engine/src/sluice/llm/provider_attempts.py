"""A record of each request to a provider, for metrics, traces and logs. It holds no texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice.llm.chat import Usage


@dataclass(frozen=True)
class ProviderAttempt:
    """`outcome`: answered, abandoned (the caller went away) or a FailureKind. Times in seconds; `cost` in US dollars.

    `first_token_seconds` is None when there was none; `usage` and `cost` are None when the provider did not say.
    """

    provider: str
    model: str
    outcome: str
    seconds: float
    first_token_seconds: float | None
    usage: Usage | None
    cost: float | None


Observer = Callable[[ProviderAttempt], None]
