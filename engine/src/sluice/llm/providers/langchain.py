"""Any chat model with a LangChain integration: `integration` names it, its package must be installed.

Requests of an integration that uses threads (langchain-aws) cannot be cancelled. Most integrations keep one HTTP client
for the whole process, so use such a provider from one event loop only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sluice.llm.chat import ChatProvider, Delta, Messages, Usage, finish_reason
from sluice.llm.provider_failures import FailureKind, ProviderError, in_time
from sluice.llm.providers import ProviderContext, provider
from sluice.llm.settings import KeyedSpec, RemoteSpec
from sluice.prompts import ModelParameters

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


_REASONS = ("finish_reason", "stop_reason", "stopReason")


class LangChainProvider:
    """`bind` turns our parameters into the model's keyword arguments."""

    def __init__(self, model: BaseChatModel, bind: Callable[[ModelParameters], dict[str, Any]]) -> None:
        self._model = model
        self._bind = bind

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        values = self._bind(parameters)
        model: Any = self._with_tools(values)
        stream: Any = model.astream([dict(message) for message in messages], **values)
        usage: Usage | None = None
        reason: str | None = None
        async with aclosing(stream):
            while (chunk := await in_time(anext(stream, None), deadline)) is not None:
                if used := chunk.usage_metadata:  # may come in parts: the input first, the output last
                    cached = used.get("input_token_details", {}).get("cache_read", 0)
                    usage = (usage or Usage(0, 0)) + Usage(used["input_tokens"], used["output_tokens"], cached)
                said = chunk.response_metadata
                reason = next((said[key] for key in _REASONS if said.get(key)), reason)
                if (text := str(chunk.text)) or chunk.tool_call_chunks:
                    yield Delta(text, tool_calls=tuple(chunk.tool_call_chunks))
        if reason is None:
            raise ProviderError(FailureKind.GARBAGE, "the reply ended before the answer")
        yield Delta(finish_reason=finish_reason(reason), usage=usage)

    def _with_tools(self, values: dict[str, Any]) -> Any:
        if "tools" not in values:
            return self._model
        choice = values.pop("tool_choice")
        named = choice["function"]["name"] if isinstance(choice, dict) else {"required": "any"}.get(choice, choice)
        try:
            return self._model.bind_tools(values.pop("tools"), tool_choice=named)
        except (NotImplementedError, ValueError) as error:
            what = f"{type(self._model).__name__} does not take these tools ({type(error).__name__})"
            raise ProviderError(FailureKind.REFUSED, what) from error


class LangChainSpec(RemoteSpec):
    integration: str = Field(description="LangChain's name of the integration; its package must be installed")

    @property
    def remedy_for_a_missing_package(self) -> str:
        return f"add the package of the integration {self.integration!r} to engine/requirements/serve.in"


@provider("langchain", LangChainSpec)
def connect(context: ProviderContext[LangChainSpec]) -> ChatProvider:
    from langchain.chat_models import init_chat_model

    given: dict[str, Any] = {"base_url": context.base_url(), "api_key": context.key()}
    given = {name: value for name, value in given.items() if value is not None} | context.spec.options
    model: BaseChatModel = init_chat_model(
        context.spec.model, model_provider=context.spec.integration, max_retries=0, **given
    )
    return LangChainProvider(model, context.parameters)


@provider("anthropic", KeyedSpec)
def connect_anthropic(context: ProviderContext[KeyedSpec]) -> ChatProvider:
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
