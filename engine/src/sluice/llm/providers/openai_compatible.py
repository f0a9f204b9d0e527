"""OpenAI, servers with its chat completions API (llama.cpp, vLLM, LiteLLM, TGI), and the local one of this process."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any, Self

from pydantic import model_validator
from pydantic_core import from_json

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.llm.chat import (
    ChatProvider,
    Delta,
    FinishReason,
    Messages,
    ShapeParameters,
    ToolParameters,
    Usage,
    finish_reason,
)
from sluice.llm.provider_failures import FailureKind, ProviderError, by_status
from sluice.llm.provider_http import HttpClient
from sluice.llm.providers import ProviderContext, provider
from sluice.llm.settings import KeyedSpec, ProviderSpec, RemoteSpec
from sluice.prompts import ModelParameters

_LONGEST = 1 << 20  # bytes of one event
_DONE = b"[DONE]"


class OpenAIEvents:
    """Parses the events of an answer; FailureKind.GARBAGE if they aren't OpenAI's."""

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._calls: dict[int, Any] = {}  # of one block; LangChain adds up pieces of different chunks only

    def feed(self, block: bytes) -> Delta | None:
        """Return the text and calls of a block, or None. An error event raises."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LONGEST:
            raise ProviderError(FailureKind.GARBAGE, "an event that never ended")
        text = ""
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == _DONE:
                    self.done = True
                    break
                try:
                    text += self._event(from_json(data))
                except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                    raise ProviderError(
                        FailureKind.GARBAGE, f"not an event of a chat ({type(error).__name__})"
                    ) from error
        if not self._calls:
            return Delta(text) if text else None
        calls, self._calls = tuple(self._calls.values()), {}
        return Delta(text, tool_calls=calls)

    def last(self) -> Delta:
        if self._finish is None:
            raise ProviderError(FailureKind.GARBAGE, "the reply ended before the answer")
        return Delta(finish_reason=self._finish, usage=self._usage)

    def _event(self, event: dict[str, Any]) -> str:
        if error := event.get("error"):
            code = error.get("code") if isinstance(error, dict) else None
            raise by_status(code if isinstance(code, int) else 500, "in the stream", said=str(error))
        if usage := event.get("usage"):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            self._usage = Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]), int(cached))
        if not (choices := event["choices"]):
            return ""
        choice = choices[0]
        if reason := choice.get("finish_reason"):
            self._finish = finish_reason(reason)
        delta = choice.get("delta") or {}
        for call in delta.get("tool_calls") or ():
            empty = {"type": "tool_call_chunk", "index": call["index"], "id": None, "name": None, "args": ""}
            piece, said = self._calls.setdefault(call["index"], empty), call.get("function") or {}
            piece["id"] = call.get("id") or piece["id"]
            piece["name"] = said.get("name") or piece["name"]
            piece["args"] += said.get("arguments") or ""
        return delta.get("content") or ""


class OpenAICompatibleProvider:
    """`base_url` includes /v1; `longest` is the server's name for max_tokens."""

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
        async with self._client.post(body, deadline=deadline) as read:
            while not events.done and (block := await read()):
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


_URL = "https://api.openai.com/v1"


@provider("openai", KeyedSpec)
def connect_openai(context: ProviderContext[KeyedSpec]) -> ChatProvider:
    return OpenAICompatibleProvider(context, context.base_url(_URL) or _URL, longest="max_completion_tokens")


_TOOL = b"a_tool_of_sluice"
_PROBE = b"""{"messages": [{"role": "user", "content": "?"}],
    "tools": [{"type": "function", "function": {"name": "%s", "parameters": {"type": "object"}}}]}"""


class LocalSpec(ProviderSpec):
    """The model is a role of config/models.yaml. It runs in this process: it has no address and no key."""

    takes_grammar = True


class LocalProvider(OpenAICompatibleProvider):
    """llama.cpp drops tools silently if the model's chat template has no place for them. Such a request, and one for a
    form of the answer, goes to the extra `clients`, or is refused."""

    def __init__(self, context: ProviderContext[LocalSpec], url: str) -> None:
        super().__init__(context, f"{url}/v1")
        self._templates = HttpClient(f"{url}/apply-template", {}, connections=1, connect_seconds=60)

    def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        shaped = isinstance(parameters, ShapeParameters | ToolParameters)
        ask = self._shaped if shaped else super().stream
        return ask(messages, parameters, deadline=deadline)

    async def _shaped(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        answer = super().stream
        if isinstance(parameters, ShapeParameters) or not await self._takes_tools(deadline):
            held = next(iter(hooks("local_form").values()), None)
            if held is None:
                what = "the chat template of the local model has no place for tools; take another model or provider"
                raise ProviderError(FailureKind.REFUSED, what)
            answer = partial(held, answer)
        async with aclosing(answer(messages, parameters, deadline=deadline)) as deltas:
            async for delta in deltas:
                yield delta

    async def _takes_tools(self, deadline: float) -> bool:
        prompt = b""
        async with self._templates.post(_PROBE % _TOOL, deadline=deadline) as read:
            while block := await read():
                prompt += block
        return _TOOL in prompt


@provider("local", LocalSpec)
def connect_local(context: ProviderContext[LocalSpec]) -> ChatProvider:
    if context.local_url is None:
        raise SluiceError(f"config/providers.yaml: {context.spec.name}: the local model does not run here")
    return LocalProvider(context, context.local_url)
