"""OpenAI itself. Its newer models know the longest answer only as `max_completion_tokens`."""

from __future__ import annotations

from sluice.llm.chat import ChatProvider
from sluice.llm.providers.openai_compatible import OpenAICompatible
from sluice.llm.providers.place import Place

_URL = "https://api.openai.com/v1"


def connect(place: Place) -> ChatProvider:
    return OpenAICompatible(place, place.base_url(_URL) or _URL, longest="max_completion_tokens")
