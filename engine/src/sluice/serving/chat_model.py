"""The models of a role as one LangChain chat model, with fallback, retries, breaker, prices and recording inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManager, AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage, convert_to_openai_messages
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.utils import LC_ID_PREFIX
from pydantic import SkipValidation

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.guardrails.check import Checks
from sluice.llm.chat import AnswerConstraint, ChatProvider, Delta, ShapeParameters, ToolParameters
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.prompts import ModelParameters
from sluice.serving.answer import ModelBusyError, ModelError, RequestError
from sluice.serving.request_state import RequestState, current_request
from sluice.serving.telemetry import traces

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
_KINDS: dict[str, type[ModelParameters]] = {"response_format": ShapeParameters, "brief": ShapeParameters}
_KINDS |= {"tools": ToolParameters, "grammar": AnswerConstraint}  # by what a call is changed by


class ChatModel(BaseChatModel):
    """Answers within a request: by its deadline, with a step in its trace, and counted in its answer. Results of tools
    pass the guards of passages before the model sees them. Raises ModelError when there is no whole reply in time.

    Attributes:
        parameters: of each call; `bind(grammar=…)` adds a grammar for a local model, `bind(temperature=…)` changes one.
        max_calls: of models, for one attempt at an answer.
        longest: answer with what a caller asks for, in tokens.
        caller: which wishes of a caller it is asked with: `tools` and `response_format`.
    """

    provider: SkipValidation[ChatProvider]
    model_name: str
    parameters: ModelParameters
    guards: SkipValidation[Checks]
    max_calls: int
    longest: int = 512
    caller: frozenset[str] = frozenset()

    @property
    def _llm_type(self) -> str:
        return "sluice"

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, strict: bool | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        """The model with tools that it may call; SluiceError when `tool_choice` names none of them."""
        shown = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        if tool_choice:
            kwargs["tool_choice"] = _choice(tool_choice, [tool["function"]["name"] for tool in shown])
        return self.bind(**kwargs, **({"tools": shown} if shown else {}))

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Skip what LangChain does for callbacks and options if there are none."""
        options = self.callbacks or self.rate_limiter or self.disable_streaming or self.output_version
        if options or heard(config, verbose=self.verbose):
            return super().astream(input, config, stop=stop, **kwargs)
        kwargs.pop("ls_structured_output_format", None)  # of the callbacks
        name = f"{LC_ID_PREFIX}-{uuid4()}"
        return self._pieces(self._convert_input(input).to_messages(), stop, name, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self._pieces(messages, stop, **kwargs):
            yield ChatGenerationChunk(message=piece)

    async def _pieces(
        self, messages: list[BaseMessage], stop: list[str] | None, name: str | None = None, **kwargs: Any
    ) -> AsyncGenerator[AIMessageChunk, None]:
        request = current_request()
        if len(request.replies) >= self.max_calls:
            raise ModelError(
                f"the application asked its models {self.max_calls} times and has no answer",
                remedy="end its loop sooner, or raise llm.max_calls of config/service.yaml",
            )
        if self.caller and request.options:
            kwargs = {**request.options.parameters(self.longest, brief=bool(request.refused)), **kwargs}
        parameters = self._parameters({**kwargs, "stop": tuple(stop)} if stop else kwargs)
        sent = [await self._sent(message, request) for message in messages]
        # The provider keeps the deadline, and only while it is waited for: a slow reader is not cut off.
        deltas = self.provider.stream(sent, parameters, deadline=request.deadline)
        request.replies.append(deltas)
        request.called = {}
        with request.step(traces.CHAT) as step:
            try:
                async with aclosing(deltas):
                    async for delta in deltas:
                        _add_calls(request.called, delta)
                        if delta.finish_reason is not None:
                            request.replied(step, delta, self.model_name)
                        yield _chunk(delta, name)
            except Exception as error:
                raise _model_error(error, request) from error

    async def _sent(self, message: BaseMessage, request: RequestState) -> dict[str, Any]:
        """Return a message as a provider takes it, the result of a tool as the passage guards let it pass."""
        said: dict[str, Any] = {"role": _ROLES[message.type], "content": str(message.text)}
        if isinstance(message, ToolMessage):
            said["tool_call_id"], text = message.tool_call_id, said["content"]
            said["content"] = await request.once(f"result of a tool: {text}", lambda: self._vetted(text, request))
        elif isinstance(message, AIMessage) and message.tool_calls:
            return {**convert_to_openai_messages(message), **said}
        return said

    async def _vetted(self, text: str, request: RequestState) -> str:
        with request.step(traces.GUARD_PASSAGES) as step:
            verdict = await self.guards.check_passage(text)
            step.verdict(verdict)
        if verdict.blocked and request.options:  # the results are the caller's
            request.withheld.update(verdict.reasons)
        return f"(withheld by a check: {', '.join(verdict.reasons)})" if verdict.blocked else verdict.text

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
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the signature of LangChain
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        async def whole() -> list[ChatGenerationChunk]:
            return [chunk async for chunk in self._astream(messages, stop, **kwargs)]

        yield from asyncio.run(whole())

    def _parameters(self, changes: dict[str, Any]) -> ModelParameters:
        if not changes:
            return self.parameters
        kind = next((kind for name, kind in _KINDS.items() if changes.get(name)), ModelParameters)
        return kind.model_validate({**self.parameters.model_dump(), **changes}, by_name=True)


def _add_calls(called: dict[Any, dict[str, Any]], delta: Delta) -> None:
    for piece in delta.tool_calls:
        call = called.setdefault(piece["index"], {"id": None, "name": "", "args": ""})
        call["id"] = call["id"] or piece["id"]
        call["name"] += piece["name"] or ""
        call["args"] += piece["args"] or ""


def _choice(given: Any, names: list[str]) -> str | dict[str, Any]:
    """Translate LangChain's ways to name the tool into OpenAI's."""
    name = given["function"]["name"] if isinstance(given, dict) else "any" if given is True else given
    if name not in names:
        if name in ("auto", "none", "any", "required"):
            return "required" if name == "any" else str(name)
        raise SluiceError(f"tool_choice: no tool {name!r}{nearest(name, names)}", remedy=f"use {' or '.join(names)}")
    return {"type": "function", "function": {"name": name}}


def _model_error(error: Exception, request: RequestState) -> Exception:
    if not isinstance(error, ProviderError):
        failed = ModelError(f"the model gave no answer: {type(error).__name__}: {error}")
        failed.failure = type(error).__name__
        return failed
    if error.failure is FailureKind.REFUSED and request.options:
        name = min(request.options.names, default="tools")
        return RequestError(f"{name}: the model does not take this: {error.message}", param=name)
    if error.failure is FailureKind.TOO_LONG:
        count = "{} tokens, and the model takes {}".format(*error.tokens) if error.tokens else "too many tokens"
        what = f"messages: the prompt has {count}: send a shorter question, fewer earlier messages, or fewer tools"
        return RequestError(what, param="messages", code="context_length_exceeded")
    late = error.failure is FailureKind.DEADLINE
    kind = ModelBusyError if error.failure is FailureKind.FULL else ModelError
    failed = request.late() if late else kind(f"the model gave no answer: {error}")
    failed.retry_after, failed.failure = error.retry_after, error.failure.value
    return failed


def _chunk(delta: Delta, name: str | None) -> AIMessageChunk:
    if delta.finish_reason is None:
        return AIMessageChunk(content=delta.text, id=name, tool_call_chunks=list(delta.tool_calls))
    usage = None
    if delta.usage:
        tokens = (delta.usage.prompt_tokens, delta.usage.completion_tokens)
        cached = InputTokenDetails(cache_read=delta.usage.cached_tokens)
        usage = UsageMetadata(
            input_tokens=tokens[0], output_tokens=tokens[1], total_tokens=sum(tokens), input_token_details=cached
        )
    said = {"finish_reason": delta.finish_reason, "model_name": delta.model, "provider": delta.provider}
    return AIMessageChunk(
        content=delta.text, id=name, usage_metadata=usage, response_metadata=said, chunk_position="last"
    )


def heard(config: RunnableConfig | None = None, *, verbose: bool = False) -> bool:
    """Tell whether a run that begins now has a handler. Without one, LangChain's callbacks still cost 0.7 ms of CPU an
    answer (engine/docs/decisions/service-speed.md)."""
    return bool(AsyncCallbackManager.configure(ensure_config(config).get("callbacks"), verbose=verbose).handlers)
