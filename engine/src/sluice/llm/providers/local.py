"""The release's own model and adapter, in the llama.cpp server of this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.llm.chat import ChatProvider, Delta, Messages, ShapeParameters, ToolParameters
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.provider_http import HttpClient
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.providers.openai_compatible import OpenAICompatibleProvider
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters

_TOOL = b"a_tool_of_sluice"
_PROBE = b"""{"messages": [{"role": "user", "content": "?"}],
    "tools": [{"type": "function", "function": {"name": "%s", "parameters": {"type": "object"}}}]}"""


class LocalSpec(ProviderSpec):
    """The model is a role of config/models.yaml. It runs in this process: it has no address and no key."""

    takes_grammar = True


class LocalProvider(OpenAICompatibleProvider):
    """llama.cpp leaves tools out of the prompt, without a word, where the chat template of the model has no place for
    them. Such a request, and one for a form of the answer, is held to it by the extra `clients`, or refused."""

    def __init__(self, context: ProviderContext[LocalSpec], url: str) -> None:
        super().__init__(context, f"{url}/v1")
        self._templates = HttpClient(f"{url}/apply-template", {}, connections=1, connect_seconds=60)

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        answer = super().stream
        if isinstance(parameters, ShapeParameters) or (
            isinstance(parameters, ToolParameters) and not await self._takes_tools(deadline)
        ):
            held = next(iter(hooks("local_form").values()), None)
            if held is None:
                what = "the chat template of the local model has no place for tools; take another model or provider"
                raise ProviderError(FailureKind.REFUSED, what)
            answer = partial(held, answer)
        async with aclosing(answer(messages, parameters, deadline=deadline)) as deltas:
            async for delta in deltas:
                yield delta

    async def _takes_tools(self, deadline: float) -> bool:
        async with aclosing(self._templates.post(_PROBE % _TOOL, ended=lambda: False, deadline=deadline)) as blocks:
            return _TOOL in b"".join([block async for block in blocks])


@provider("local", LocalSpec)
def connect(context: ProviderContext[LocalSpec]) -> ChatProvider:
    if context.local_url is None:
        raise SluiceError(f"config/providers.yaml: {context.spec.name}: the local model does not run here")
    return LocalProvider(context, context.local_url)
