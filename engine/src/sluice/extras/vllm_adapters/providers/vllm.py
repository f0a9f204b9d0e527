"""The kind of provider `vllm`: a vLLM that serves the adapter of a release under the id of the release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.llm.chat import ChatProvider
from sluice.llm.providers import ProviderContext, provider
from sluice.llm.providers.openai_compatible import OpenAICompatibleSpec
from sluice.llm.providers.openai_compatible import connect as connect_openai_compatible
from sluice.serving.release_parts import DRAFT, ReleaseBundle

KIND = "vllm"


class VllmSpec(OpenAICompatibleSpec):
    """`model` is vLLM's name of the base (`--served-model-name`); a release with an adapter asks for that instead."""


@provider(KIND, VllmSpec)
def connect(context: ProviderContext[Any]) -> ChatProvider:
    return connect_openai_compatible(context)


def model_names(bundle: ReleaseBundle) -> dict[str, str]:
    """Return the model name by kind of provider, if the release has an adapter."""
    return {KIND: adapter_name(bundle.release, bundle.adapter)} if bundle.adapter else {}


def adapter_name(release: str, adapter: Path) -> str:
    """Return the release id, or a name by content for a draft: vLLM caches by name, so another adapter under the same
    one would get a part of the first one's answers."""
    return f"{DRAFT}-{digest_of_file(adapter)[:12]}" if release == DRAFT else release
