"""The interface of chat models: providers, the fallback over them, and test doubles."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from sluice.prompts import ModelParameters

if TYPE_CHECKING:
    from langchain_core.messages.tool import ToolCallChunk


# {role, content}; of an assistant also `tool_calls`, of a tool `tool_call_id`, in the form of OpenAI's API.
Messages = Sequence[Mapping[str, Any]]
FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


class AnswerConstraint(ModelParameters):
    """`grammar`: what the answer must follow, in the form of llama.cpp. Providers that know none are asked without."""

    grammar: str


class ToolParameters(ModelParameters):
    """The tools that the model may call and which of them it must, in the form of OpenAI's API."""

    tools: tuple[dict[str, Any], ...] = Field(min_length=1)
    tool_choice: str | dict[str, Any] = "auto"


class ShapeParameters(ModelParameters):
    """`response_format`: of the answer, in the form of OpenAI's API, beside tools as above. `brief`: an answer before
    had another form or no end, so the local model is held to a short one."""

    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] = "auto"
    brief: bool = False


@dataclass(frozen=True)
class Usage:
    """Tokens as the model's server counted them; 0 when it was not asked or did not say. `cached_tokens`: those of the
    prompt that it had in its cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


class Delta(NamedTuple):
    """A piece of an answer. Every piece but the last has text or `tool_calls`; the last one alone has the other fields.

    `finish_reason` is set in the last piece and in no other. `usage` is None where the server did not say. `provider`,
    `model` and `cost` (US dollars by the price table, None without usage) are filled in by the guard around a provider.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    provider: str = ""
    model: str = ""
    cost: float | None = None
    tool_calls: tuple[ToolCallChunk, ...] = ()


class ChatProvider(Protocol):
    """Answers messages."""

    def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        """The answer in pieces. Closing the generator, or cancelling the task that waits for it, closes the connection
        to the provider at once.

        Args:
            messages: the conversation.
            parameters: those of the prompt; a subclass says more.
            deadline: a time of the running event loop's clock.

        Returns:
            Pieces, then one that says how the answer ended.

        Raises:
            ProviderError: of the kind DEADLINE when that has passed, else of what went wrong at the provider.
        """
        ...


def finish_reason(said: str | None) -> FinishReason:
    if said in ("length", "max_tokens", "model_context_window_exceeded"):
        return "length"
    if said in ("content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety"):
        return "content_filter"
    return "tool_calls" if said in ("tool_calls", "tool_use") else "stop"


# Those around turns: of ChatML, Llama 2 and 3, Phi, DeepSeek, EXAONE, Gemma and Mistral.
_NAMES = r"s|bos|eos|(?:start|end)_of_turn|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+"
_BEGINNING = re.compile(rf"[<\[](?=[|｜][^\W\d][^\s|｜]*[|｜][>\]]|/?(?:{_NAMES})[>\]])")


def read_as_text(said: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Put a space behind the first letter of each such token in messages or tools."""
    text = json.dumps(list(said), ensure_ascii=False)
    return list(json.loads(_BEGINNING.sub(r"\g<0> ", text)) if _BEGINNING.search(text) else said)
