"""Request schemas: OpenAI's request for POST /v1/chat/completions, strictly validated, and that of /v1/feedback.

A chat request has three kinds of fields: those in use; those that are accepted without effect, because the release
decides how an answer is made (it was evaluated that way); and those that would change the response, which are refused.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator

MODEL = "sluice"


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """Clients send back assistant messages as they got them, with further keys; those are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | tuple[TextPart, ...] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, value: Any) -> Any:
        kinds = {part.get("type") for part in value if isinstance(part, dict)} if isinstance(value, list) else set()
        if kinds - {"text"}:
            raise ValueError("only parts of the type 'text' are offered")
        return value

    @property
    def text(self) -> str:
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class ChatRequest(BaseModel):
    """An unknown field is an error: a misspelt one must not be dropped in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=256)
    model: str = MODEL
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    # Accepted without effect.
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: StrictInt | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    store: StrictBool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    prediction: dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None

    # Refused when set to more than their default; the document says so too.
    n: StrictInt | None = Field(None, json_schema_extra={"enum": [1, None]})
    tools: list[Any] | None = Field(None, json_schema_extra={"maxItems": 0})
    tool_choice: Any = Field(None, json_schema_extra={"enum": ["none", "auto", None]})
    functions: list[Any] | None = Field(None, json_schema_extra={"maxItems": 0})
    function_call: Any = Field(None, json_schema_extra={"enum": ["none", "auto", None]})
    response_format: dict[str, Any] | None = Field(None, json_schema_extra={"enum": [{"type": "text"}, None]})
    logprobs: StrictBool | None = Field(None, json_schema_extra={"enum": [False, None]})
    top_logprobs: StrictInt | None = Field(None, json_schema_extra={"enum": [0, None]})
    modalities: list[str] | None = Field(None, json_schema_extra={"enum": [["text"], None]})
    audio: Any = Field(None, json_schema_extra={"enum": [None]})
    web_search_options: Any = Field(None, json_schema_extra={"enum": [None]})
    moderation: Any = Field(None, json_schema_extra={"enum": [None]})

    @field_validator("n")
    @classmethod
    def _one_answer(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("only one answer can be asked for: leave n out, or set it to 1")
        return value

    @field_validator("tools", "functions", "logprobs", "top_logprobs", "audio", "web_search_options", "moderation")
    @classmethod
    def _not_offered(cls, value: Any) -> Any:
        if value:
            raise ValueError("not offered by this service: leave it out")
        return value

    @field_validator("tool_choice", "function_call")
    @classmethod
    def _no_tools(cls, value: Any) -> Any:
        if value not in (None, "none", "auto"):
            raise ValueError("this service has no tools: leave it out")
        return value

    @field_validator("response_format")
    @classmethod
    def _plain_text(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("only the type 'text' is offered")
        return value

    @field_validator("modalities")
    @classmethod
    def _text_only(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and value != ["text"]:
            raise ValueError("only the modality 'text' is offered")
        return value

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def conversation(self) -> list[dict[str, str]]:
        """The messages as the chain takes them."""
        return [{"role": message.role, "content": _whole(message.text)} for message in self.messages]


def _whole(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), UTF-8 cannot: no part behind this one would take it."""
    return text.encode("utf-8", "replace").decode()


class FeedbackRequest(BaseModel):
    """`trace_id`: the `id` of the answer, with or without its prefix. `score`: 0 is bad, 1 is good. `release`: that of
    the answer; without it, the release that takes the feedback counts as the one that answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trace_id: str = Field(pattern=r"^(?:chatcmpl-)?[0-9a-f]{32}$")
    score: StrictInt | StrictFloat = Field(ge=0, le=1)
    comment: str = Field("", max_length=2000)
    release: str | None = Field(None, pattern=r"^r-[0-9a-f]{12}$")
