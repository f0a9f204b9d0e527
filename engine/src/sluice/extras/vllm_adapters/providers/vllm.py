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
    """`model` is what vLLM calls the base (`--served-model-name`). A release that has an adapter asks for that instead:
    the hook `model_names` puts its id there."""


@provider(KIND, VllmSpec)
def connect(context: ProviderContext[Any]) -> ChatProvider:
    return connect_openai_compatible(context)


def model_names(bundle: ReleaseBundle) -> dict[str, str]:
    """The model by kind of provider; nothing where the release has no adapter, and the base answers."""
    return {KIND: adapter_name(bundle.release, bundle.adapter)} if bundle.adapter else {}


def adapter_name(release: str, adapter: Path) -> str:
    """The id of the release. What is not released yet is named by its content: vLLM keeps what it has computed for a
    name, so that another adapter under the same one would get a part of the first one's answers."""
    return f"{DRAFT}-{digest_of_file(adapter)[:12]}" if release == DRAFT else release
