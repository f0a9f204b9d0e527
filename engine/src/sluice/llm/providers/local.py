"""The release's own model and adapter, in the llama.cpp of this process."""

from __future__ import annotations

from sluice.core.errors import SluiceError
from sluice.llm.chat import ChatProvider
from sluice.llm.providers.openai_compatible import OpenAICompatible
from sluice.llm.providers.place import Place


def connect(place: Place) -> ChatProvider:
    if place.local_url is None:
        raise SluiceError(f"config/providers.yaml: {place.spec.name}: the local model does not run here")
    return OpenAICompatible(place, f"{place.local_url}/v1")
