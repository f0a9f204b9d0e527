"""A record of each request to a provider, for metrics, traces and logs. It holds no texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice.llm.chat import Usage


@dataclass
class ProviderAttempt:
    """Filled while the attempt lasts; observers get it at the end.

    Attributes:
        outcome: answered, abandoned (the caller went away) or a FailureKind.
        seconds: of the whole attempt.
        first_token_seconds: None when there was none.
        usage: None when the provider did not say; `cost`, in US dollars, likewise.
    """

    provider: str
    model: str
    outcome: str = "abandoned"
    seconds: float = 0.0
    first_token_seconds: float | None = None
    usage: Usage | None = None
    cost: float | None = None


Observer = Callable[[ProviderAttempt], None]
