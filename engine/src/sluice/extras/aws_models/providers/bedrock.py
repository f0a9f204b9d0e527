"""Amazon Bedrock through its Converse API: one format for all of its models."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from sluice.extras.aws_models.aws_client import AwsClient
from sluice.llm.chat import ChatProvider, Delta, Messages, Usage, finish_reason
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.settings import AwsSpec
from sluice.prompts import ModelParameters

_NAMES = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}


class BedrockProvider:
    """With `key_env` the key is a Bedrock API key; without, requests are signed with AWS credentials."""

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
                if text := event.get("contentBlockDelta", {}).get("delta", {}).get("text"):
                    yield Delta(text)
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
            "messages": [
                {"role": message["role"], "content": [{"text": message["content"]}]}
                for message in messages
                if message["role"] != "system"
            ],
            "inferenceConfig": {name: values[ours] for ours, name in _NAMES.items() if ours in values},
        }
        return request | ({"system": system} if system else {}) | self._context.spec.options


@provider("bedrock", AwsSpec)
def connect(context: ProviderContext[AwsSpec]) -> ChatProvider:
    return BedrockProvider(context)
