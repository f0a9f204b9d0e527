"""Amazon Bedrock through its Converse API: one format for all of its models."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from sluice.extras.aws_models.aws_client import AwsClient
from sluice.llm.chat import ChatProvider, Delta, Messages, Usage, finish_reason
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers import ProviderContext, provider
from sluice.llm.settings import AwsSpec
from sluice.prompts import ModelParameters

_NAMES = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}


class BedrockProvider:
    """With `key_env` the key is a Bedrock API key; otherwise, requests are signed with AWS credentials."""

    def __init__(self, context: ProviderContext[AwsSpec]) -> None:
        self._context = context
        self._client = AwsClient(context, "bedrock-runtime")

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        reason: str | None = None
        usage: Usage | None = None
        events = self._client.events("converse_stream", "stream", self._request(messages, parameters), deadline)
        async with aclosing(events):
            async for event in events:
                if delta := _delta(event):
                    yield delta
                reason = event.get("messageStop", {}).get("stopReason", reason)
                if used := event.get("metadata", {}).get("usage"):
                    usage = Usage(used["inputTokens"], used["outputTokens"])
        if reason is None:
            raise ProviderError(FailureKind.GARBAGE, "the reply ended before the answer")
        yield Delta(finish_reason=finish_reason(reason), usage=usage)

    def _request(self, messages: Messages, parameters: ModelParameters) -> dict[str, Any]:
        values = self._context.parameters(parameters)
        system = [{"text": message["content"]} for message in messages if message["role"] == "system"]
        request: dict[str, Any] = {
            "modelId": self._context.spec.model,
            "messages": _turns(messages),
            "inferenceConfig": {name: values[ours] for ours, name in _NAMES.items() if ours in values},
        }
        if "tools" in values:
            request["toolConfig"] = _tool_config(values["tools"], values["tool_choice"])
        return request | ({"system": system} if system else {}) | self._context.spec.options


def _delta(event: dict[str, Any]) -> Delta | None:
    """Return an event's text or tool call piece, or None."""
    from langchain_core.messages.tool import tool_call_chunk

    block = event.get("contentBlockStart") or event.get("contentBlockDelta") or {}
    said = block.get("start") or block.get("delta") or {}
    if text := said.get("text"):
        return Delta(text)
    if call := said.get("toolUse"):
        said = {"id": call.get("toolUseId"), "name": call.get("name"), "args": call.get("input", "")}
        return Delta(tool_calls=(tool_call_chunk(index=block["contentBlockIndex"], **said),))
    return None


def _turns(messages: Messages) -> list[dict[str, Any]]:
    """Return the conversation for Converse: all results of one turn's tool calls are one user message."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        content: list[dict[str, Any]] = [{"text": message["content"]}] if message["content"] else []
        if message["role"] == "tool":
            result = {"toolUseId": message["tool_call_id"], "content": content}
            if turns and "toolResult" in turns[-1]["content"][-1]:
                turns[-1]["content"].append({"toolResult": result})
            else:
                turns.append({"role": "user", "content": [{"toolResult": result}]})
        elif message["role"] != "system":
            for call in message.get("tool_calls", ()):
                used = call["function"]
                use = {"toolUseId": call["id"], "name": used["name"], "input": json.loads(used["arguments"])}
                content.append({"toolUse": use})
            turns.append({"role": message["role"], "content": content})
    return turns


def _tool_config(tools: Sequence[dict[str, Any]], choice: str | dict[str, Any]) -> dict[str, Any]:
    if choice == "none":
        raise ProviderError(FailureKind.REFUSED, "Converse has no tool_choice 'none'")
    named = {"tool": {"name": choice["function"]["name"]}} if isinstance(choice, dict) else None
    specs = []
    for function in [tool["function"] for tool in tools]:
        described = {"description": function["description"]} if function.get("description") else {}
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        specs.append({"toolSpec": {"name": function["name"], **described, "inputSchema": {"json": schema}}})
    return {"tools": specs, "toolChoice": named or {"any" if choice == "required" else "auto": {}}}


@provider("bedrock", AwsSpec)
def connect(context: ProviderContext[AwsSpec]) -> ChatProvider:
    return BedrockProvider(context)
