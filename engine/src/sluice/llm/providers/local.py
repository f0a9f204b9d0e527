"""The release's own model and adapter, in the llama.cpp server of this process."""

from __future__ import annotations

from sluice.core.errors import SluiceError
from sluice.llm.chat import ChatProvider
from sluice.llm.providers import provider
from sluice.llm.providers.context import ProviderContext
from sluice.llm.providers.openai_compatible import OpenAICompatibleProvider
from sluice.llm.settings import ProviderSpec


class LocalSpec(ProviderSpec):
    """The model is a role of config/models.yaml. It runs in this process: it has no address and no key."""

    takes_grammar = True


@provider("local", LocalSpec)
def connect(context: ProviderContext[LocalSpec]) -> ChatProvider:
    if context.local_url is None:
        raise SluiceError(f"config/providers.yaml: {context.spec.name}: the local model does not run here")
    return OpenAICompatibleProvider(context, f"{context.local_url}/v1")
