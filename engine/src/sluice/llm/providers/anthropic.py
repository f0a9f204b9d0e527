"""Anthropic, through langchain-anthropic."""

from __future__ import annotations

from typing import Any

from sluice.llm.chat import ChatProvider
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.providers.langchain import LangChainProvider
from sluice.llm.settings import KeyedSpec
from sluice.prompts import ModelParameters


@provider("anthropic", KeyedSpec)
def connect(context: ProviderContext[KeyedSpec]) -> ChatProvider:
    from langchain_anthropic import ChatAnthropic

    given: dict[str, Any] = {"model": context.spec.model, "api_key": context.key(), **context.spec.options}
    if url := context.base_url():
        given["base_url"] = url
    model = ChatAnthropic(max_retries=0, stream_usage=True, **given)

    def bind(parameters: ModelParameters) -> dict[str, Any]:
        values = context.parameters(parameters)
        values.pop("seed", None)  # Anthropic has none
        if values.get("top_p") == 1.0:  # no effect, and newer models refuse it beside a temperature
            del values["top_p"]
        return values

    return LangChainProvider(model, bind)
