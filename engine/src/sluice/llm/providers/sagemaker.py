"""A SageMaker endpoint whose container speaks OpenAI's chat completions (vLLM, LMI, TGI), streamed in AWS event
frames."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from urllib.parse import quote

from sluice.llm.aws_protocol import Frames, Signer
from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.openai_events import OpenAIEvents
from sluice.llm.provider_http import address
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.settings import AwsSpec
from sluice.prompts import ModelParameters


class SageMakerProvider:
    """`model` of the entry is the name of the endpoint."""

    def __init__(self, context: ProviderContext[AwsSpec]) -> None:
        self._context = context
        self._client = context.client()
        self._signer = Signer(context.spec, "sagemaker")
        base = context.base_url(f"https://runtime.sagemaker.{context.spec.region}.amazonaws.com")
        self._url = f"{base}/endpoints/{quote(context.spec.model, safe='')}/invocations-response-stream"
        self._address = address(self._url)

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        request = {
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._context.parameters(parameters),
            **self._context.spec.options,
        }
        body = json.dumps(request, ensure_ascii=False).encode()
        headers = await self._signer.headers(self._url, body)
        frames, events = Frames(), OpenAIEvents()
        async with self._client.post(self._address, body, headers, deadline=deadline) as reply:
            while not events.done and (block := await reply.read()):
                text = "".join(events.feed(payload) for kind, payload in frames.feed(block) if kind == "PayloadPart")
                if text:
                    yield Delta(text)
            await reply.finish()
        yield events.last()


@provider("sagemaker", AwsSpec)
def connect(context: ProviderContext[AwsSpec]) -> ChatProvider:
    return SageMakerProvider(context)
