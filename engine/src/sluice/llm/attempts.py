"""What happened at a provider, one record an attempt: for metrics, traces and logs. It holds no texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice.llm.chat import Usage


@dataclass(frozen=True)
class Attempt:
    """`outcome`: answered, abandoned (the caller went away) or a Failure. Times in seconds; `cost` in US dollars.

    `first_token_seconds` is None when there was none; `usage` and `cost` are None when the provider did not say.
    """

    provider: str
    model: str
    outcome: str
    seconds: float
    first_token_seconds: float | None
    usage: Usage | None
    cost: float | None


Observer = Callable[[Attempt], None]
