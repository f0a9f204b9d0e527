"""A LangChain chat model over the providers, with retries, fallback and limits: for chains built on LangChain.

The service does not use it: it costs 0.2 ms for each piece. Import it only where LangChain is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from sluice.llm.chat import ChatProvider, Delta
from sluice.prompts import ModelParameters

_ROLES = {"human": "user", "ai": "assistant", "system": "system"}


class ProviderChatModel(BaseChatModel):
    """`seconds`: the deadline of one answer. Texts only: no tools. Errors are `failures.ProviderError`."""

    provider: Any
    parameters: ModelParameters
    seconds: float

    @property
    def _llm_type(self) -> str:
        return "sluice"

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,  # noqa: ARG002
    ) -> AsyncIterator[ChatGenerationChunk]:
        parameters = self.parameters.model_copy(update={"stop": tuple(stop)}) if stop else self.parameters
        asked = [{"role": _ROLES[message.type], "content": str(message.text)} for message in messages]
        deadline = asyncio.get_running_loop().time() + self.seconds
        async with aclosing(self.provider.stream(asked, parameters, deadline=deadline)) as stream:
            async for delta in stream:
                yield ChatGenerationChunk(message=_chunk(delta))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,
    ) -> ChatResult:
        return asyncio.run(self._agenerate(messages, stop, **kwargs))


def as_langchain(provider: ChatProvider, parameters: ModelParameters, *, seconds: float) -> ProviderChatModel:
    """The provider, or the fallback over several, as LangChain's chat model."""
    return ProviderChatModel(provider=provider, parameters=parameters, seconds=seconds)


def _chunk(delta: Delta) -> AIMessageChunk:
    if delta.finish_reason is None:
        return AIMessageChunk(content=delta.text)
    usage = None
    if delta.usage:
        tokens = (delta.usage.prompt_tokens, delta.usage.completion_tokens)
        usage = UsageMetadata(input_tokens=tokens[0], output_tokens=tokens[1], total_tokens=sum(tokens))
    said = {"finish_reason": delta.finish_reason, "model_name": delta.model, "provider": delta.provider}
    return AIMessageChunk(content="", usage_metadata=usage, response_metadata=said)
