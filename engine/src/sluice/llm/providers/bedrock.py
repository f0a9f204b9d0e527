"""Amazon Bedrock through its Converse API: one format for all of its models."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

from sluice.llm.aws_protocol import Frames, Signer
from sluice.llm.chat import ChatProvider, Delta, Messages, Usage, finish_reason
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.provider_http import address
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.settings import AwsSpec
from sluice.prompts import ModelParameters

_NAMES = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}


class BedrockProvider:
    """With `key_env` the key is a Bedrock API key; without, requests are signed with AWS credentials."""

    def __init__(self, context: ProviderContext[AwsSpec]) -> None:
        self._context = context
        self._client = context.client()
        key = context.key()
        self._bearer = {"content-type": "application/json", "authorization": f"Bearer {key}"} if key else None
        self._signer = None if key else Signer(context.spec, "bedrock")
        base = context.base_url(f"https://bedrock-runtime.{context.spec.region}.amazonaws.com")
        self._url = f"{base}/model/{quote(context.spec.model, safe='')}/converse-stream"
        self._address = address(self._url)

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        body = json.dumps(self._request(messages, parameters), ensure_ascii=False).encode()
        headers = self._bearer or await self._signer.headers(self._url, body)  # type: ignore[union-attr]
        frames, answer = Frames(), _AnswerEvents()
        async with self._client.post(self._address, body, headers, deadline=deadline) as reply:
            while block := await reply.read():
                if text := "".join(answer.event(kind, payload) for kind, payload in frames.feed(block)):
                    yield Delta(text)
        yield answer.last()

    def _request(self, messages: Messages, parameters: ModelParameters) -> dict[str, Any]:
        values = self._context.parameters(parameters)
        request: dict[str, Any] = {
            "messages": [
                {"role": message["role"], "content": [{"text": message["content"]}]}
                for message in messages
                if message["role"] != "system"
            ],
            "inferenceConfig": {name: values[ours] for ours, name in _NAMES.items() if ours in values},
            **self._context.spec.options,
        }
        if system := [{"text": message["content"]} for message in messages if message["role"] == "system"]:
            request["system"] = system
        return request


class _AnswerEvents:
    """What the events have said so far."""

    def __init__(self) -> None:
        self._stop: str | None = None
        self._usage: Usage | None = None

    def event(self, kind: str, payload: bytes) -> str:
        """The text of an event, maybe none."""
        try:
            if kind == "contentBlockDelta":
                return str(json.loads(payload)["delta"].get("text", ""))
            if kind == "messageStop":
                self._stop = json.loads(payload)["stopReason"]
            elif kind == "metadata":
                usage = json.loads(payload)["usage"]
                self._usage = Usage(int(usage["inputTokens"]), int(usage["outputTokens"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProviderError(FailureKind.GARBAGE, f"not an event of a chat ({type(error).__name__})") from error
        return ""

    def last(self) -> Delta:
        if self._stop is None:
            raise ProviderError(FailureKind.GARBAGE, "the reply ended before the answer")
        return Delta(finish_reason=finish_reason(self._stop), usage=self._usage)


@provider("bedrock", AwsSpec)
def connect(context: ProviderContext[AwsSpec]) -> ChatProvider:
    return BedrockProvider(context)
