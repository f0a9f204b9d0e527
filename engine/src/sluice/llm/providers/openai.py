"""OpenAI. Its newer models call the token limit `max_completion_tokens`."""

from __future__ import annotations

from sluice.llm.chat import ChatProvider
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.providers.openai_compatible import OpenAICompatibleProvider
from sluice.llm.settings import KeyedSpec

_URL = "https://api.openai.com/v1"


@provider("openai", KeyedSpec)
def connect(context: ProviderContext[KeyedSpec]) -> ChatProvider:
    return OpenAICompatibleProvider(context, context.base_url(_URL) or _URL, longest="max_completion_tokens")
