"""Any server with OpenAI's chat completions API: llama.cpp, vLLM, LiteLLM, TGI. The hot path: below LangChain."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Self

from pydantic import model_validator

from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.openai_events import OpenAIEvents
from sluice.llm.provider_http import HttpClient
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.settings import RemoteSpec
from sluice.prompts import ModelParameters


class OpenAICompatibleProvider:
    """`base_url` with /v1. `longest`: what the server calls the largest number of tokens of an answer."""

    def __init__(self, context: ProviderContext[Any], base_url: str, *, longest: str = "max_tokens") -> None:
        self._context = context
        self._longest = longest
        spec, key = context.spec, context.key()
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        self._client = HttpClient(
            f"{base_url}/chat/completions",
            headers | ({"authorization": f"Bearer {key}"} if key else {}),
            connections=spec.max_concurrency,
            connect_seconds=spec.timeouts.connect,
        )
        self._fixed = {"model": spec.model, "stream": True, "stream_options": {"include_usage": True}, **spec.options}

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        values = self._context.parameters(parameters)
        if "max_tokens" in values:
            values[self._longest] = values.pop("max_tokens")
        body = json.dumps({**self._fixed, **values, "messages": list(messages)}, ensure_ascii=False).encode()
        events = OpenAIEvents()
        async with aclosing(self._client.post(body, ended=lambda: events.done, deadline=deadline)) as blocks:
            async for block in blocks:
                if delta := events.feed(block):
                    yield delta
        yield events.last()


class OpenAICompatibleSpec(RemoteSpec):
    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if not (self.base_url or self.base_url_env):
            raise ValueError("kind openai_compatible needs base_url or base_url_env")
        return self


@provider("openai_compatible", OpenAICompatibleSpec)
def connect(context: ProviderContext[OpenAICompatibleSpec]) -> ChatProvider:
    return OpenAICompatibleProvider(context, str(context.base_url()))  # it has one: see its spec
