"""Chat models as LangChain objects. The local llama.cpp and every OpenAI-compatible server are the same client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.prompts import ModelParameters

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def chat_model(
    base_url: str, *, timeout: float, parameters: ModelParameters, model: str = "local", api_key: str = "none"
) -> BaseChatModel:
    """A chat model at `base_url` (without /v1). `timeout` in seconds; no hidden retries: callers decide."""
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        model=model,
        base_url=f"{base_url}/v1",
        api_key=SecretStr(api_key),
        timeout=timeout,
        max_retries=0,
        stream_usage=True,
        temperature=parameters.temperature,
        max_completion_tokens=parameters.max_tokens,
        top_p=parameters.top_p,
        seed=parameters.seed,
        stop_sequences=list(parameters.stop) or None,
    )
