"""OpenAI itself. Its newer models know the longest answer only as `max_completion_tokens`."""

from __future__ import annotations

from sluice.llm.chat import ChatProvider
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.providers.openai_compatible import OpenAICompatible
from sluice.llm.settings import KeyedSpec

_URL = "https://api.openai.com/v1"


@provider("openai", KeyedSpec)
def connect(context: ProviderContext[KeyedSpec]) -> ChatProvider:
    return OpenAICompatible(context, context.base_url(_URL) or _URL, longest="max_completion_tokens")
