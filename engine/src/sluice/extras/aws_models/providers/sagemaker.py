"""A SageMaker endpoint whose container speaks OpenAI's chat completions (vLLM, LMI, TGI), in AWS event frames."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import Field

from sluice.extras.aws_models.aws_client import AwsClient
from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.providers import ProviderContext, provider
from sluice.llm.providers.openai_compatible import OpenAIEvents
from sluice.llm.settings import AwsSpec
from sluice.prompts import ModelParameters


class SageMakerSpec(AwsSpec):
    """`model` is the name of the endpoint."""

    component: str = Field("", description="inference component of the endpoint, such as the adapter of a release")


class SageMakerProvider:
    def __init__(self, context: ProviderContext[SageMakerSpec]) -> None:
        self._context = context
        self._client = AwsClient(context, "sagemaker-runtime")

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        body = {
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._context.parameters(parameters),
            **self._context.spec.options,
        }
        request: dict[str, Any] = {
            "EndpointName": self._context.spec.model,
            "ContentType": "application/json",
            "Body": json.dumps(body, ensure_ascii=False).encode(),
        }
        if self._context.spec.component:
            request["InferenceComponentName"] = self._context.spec.component
        answer = OpenAIEvents()
        events = self._client.events("invoke_endpoint_with_response_stream", "Body", request, deadline)
        async with aclosing(events):
            async for event in events:
                if delta := answer.feed(event.get("PayloadPart", {}).get("Bytes", b"")):
                    yield delta
        yield answer.last()


@provider("sagemaker", SageMakerSpec)
def connect(context: ProviderContext[SageMakerSpec]) -> ChatProvider:
    return SageMakerProvider(context)
