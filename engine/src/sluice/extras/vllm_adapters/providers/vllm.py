"""A vLLM that serves the adapter of this release under the id of the release, beside those of other releases."""

from __future__ import annotations

from typing import Any

from sluice.llm.chat import ChatProvider
from sluice.llm.providers import ProviderContext, provider
from sluice.llm.providers.openai_compatible import OpenAICompatibleSpec
from sluice.llm.providers.openai_compatible import connect as connect_openai_compatible


class VllmSpec(OpenAICompatibleSpec):
    """`model` is what vLLM calls the base (`--served-model-name`). A release that has an adapter asks for that instead:
    the hook `model_names` puts its id there."""


@provider("vllm", VllmSpec)
def connect(context: ProviderContext[Any]) -> ChatProvider:
    return connect_openai_compatible(context)
