"""The cost of an answer, at the prices of config/providers.yaml."""

from __future__ import annotations

from sluice.llm.chat import Usage
from sluice.llm.settings import Prices

_MILLION = 1_000_000


def cost(usage: Usage | None, prices: Prices) -> float | None:
    """US dollars; None when the tokens are not known."""
    if usage is None:
        return None
    return (usage.prompt_tokens * prices.input + usage.completion_tokens * prices.output) / _MILLION
