"""Request schemas: OpenAI's request for POST /v1/chat/completions, strictly validated, and that of /v1/feedback.

Fields of a chat request are in use, accepted without effect (the release decides how an answer is made) and listed in
a header, or refused. Tools of the caller's own and a form of the answer are read by the extra `clients`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationInfo, field_validator

from sluice.core.extras import hooks
from sluice.serving.answer import RequestError
from sluice.serving.request_state import CallerOptions

MODEL = "sluice"
_NOT_OFFERED = "not offered by this service: leave it out"
# Fields that would change the answer: values that ask for nothing, and what is said of any other.
_REFUSED: Mapping[str, tuple[Sequence[Any], str]] = {
    "n": ([1], "only one answer can be asked for: leave n out, or set it to 1"),
    "functions": ([[]], "not offered by this service: use tools"),
    "function_call": (["none", "auto"], "not offered by this service: use tool_choice"),
    "logprobs": ([False], _NOT_OFFERED),
    "top_logprobs": ([0], _NOT_OFFERED),
    "modalities": ([["text"]], "only the modality 'text' is offered"),
    "audio": ([], _NOT_OFFERED),
    "web_search_options": ([], _NOT_OFFERED),
    "moderation": ([], _NOT_OFFERED),
    "stop": ([[], ""], "the release decides where an answer ends: leave stop out"),
}


def _refused(name: str) -> Any:
    return Field(None, json_schema_extra={"enum": [*_REFUSED[name][0], None]})


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """Clients send back assistant messages as they got them, with further keys; those are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    # The description offers what has an effect; of the others an error says what to do.
    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        json_schema_extra={"enum": ["user", "assistant", "tool"]}
    )
    content: str | tuple[TextPart, ...] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, value: Any) -> Any:
        parts = value if isinstance(value, list) else ()
        if any(part.get("type") != "text" for part in parts if isinstance(part, dict)):
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

    # Read by the extra `clients`; so are the two largest numbers of tokens below, which have no effect else.
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: dict[str, Any] | None = None

    # Accepted without effect.
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: StrictInt | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    store: StrictBool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None

    # Refused when they ask for anything, as `_REFUSED` says.
    n: StrictInt | None = _refused("n")
    functions: list[Any] | None = _refused("functions")
    function_call: Any = _refused("function_call")
    logprobs: StrictBool | None = _refused("logprobs")
    top_logprobs: StrictInt | None = _refused("top_logprobs")
    modalities: list[str] | None = _refused("modalities")
    audio: Any = _refused("audio")
    web_search_options: Any = _refused("web_search_options")
    moderation: Any = _refused("moderation")
    stop: str | list[str] | None = _refused("stop")

    @field_validator(*_REFUSED)
    @classmethod
    def _asks_for_nothing(cls, value: Any, info: ValidationInfo) -> Any:
        allowed, otherwise = _REFUSED[str(info.field_name)]
        if value is not None and value not in allowed:
            raise ValueError(otherwise)
        return value

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def conversation(self) -> list[dict[str, str]]:
        """The messages as the chain takes them; calls of tools are in the caller's options."""
        return [{"role": message.role, "content": whole(message.text)} for message in self.messages]


def whole(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), UTF-8 cannot: no part behind this one would take it."""
    return text.encode("utf-8", "replace").decode()


class FeedbackRequest(BaseModel):
    """`trace_id`: the `id` of the answer, with or without its prefix, or its `trace`. `score`: 0 is bad, 1 is good.
    `release`: that of the answer, where it may be another than the one that takes the feedback."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trace_id: str = Field(pattern=r"^(?:chatcmpl-|resp_)?[0-9a-f]{32}(?:[0-9a-f]{16})?$")
    score: float = Field(strict=True, ge=0, le=1)
    comment: str = Field("", max_length=2000)
    release: str | None = Field(None, pattern=r"^r-[0-9a-f]{12}$")


# Of both APIs: clients send them by themselves, and the release decides.
_WITHOUT_EFFECT = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logit_bias", "reasoning_effort",
    "verbosity", "prediction", "service_tier", "reasoning", "include", "truncation", "max_tool_calls",
)  # fmt: skip
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")  # used where tools or a form are asked for
OWN_INSTRUCTIONS = (
    "the release has its own instructions and takes no others: leave this out, and put what the answer needs "
    "into the user message, or its shape into response_format"
)


def caller_options(request: ChatRequest) -> CallerOptions | None:
    """Return the tools or format that a request asks for, None for plain text; RequestError if it can't be served."""
    _check(request.messages)
    wanted = {
        "tools": request.tools,
        "tool_choice": request.tool_choice not in (None, "none", "auto"),
        "response_format": request.response_format not in (None, {"type": "text"}),
        "messages": any(message.tool_calls for message in request.messages),
    }
    asked = [name for name, given in wanted.items() if given]
    for read in hooks("caller_options").values() if asked else ():
        found: CallerOptions = read(request)
        return found
    if asked and asked != ["messages"]:
        raise RequestError(f"{asked[0]}: this project has left the extra `clients` out", param=asked[0])
    return None


def _check(messages: Sequence[ChatMessage]) -> None:
    called: list[Any] = []
    for place, message in enumerate(messages):
        called += [call.get("id") for call in message.tool_calls or ()]
        if message.role in ("system", "developer") and message.text.strip():
            param = f"messages[{place}].role"
            raise RequestError(f"{param}: {OWN_INSTRUCTIONS}", param=param, code="unsupported_parameter")
        if message.role == "tool" and message.tool_call_id not in called:
            param = f"messages[{place}].tool_call_id"
            raise RequestError(f"{param}: no message before this one has a call with this id", param=param)
    if messages[-1].role == "assistant":
        raise RequestError("messages: the last one is the assistant's: end with a user message", param="messages")


def ignored(request: Any, options: CallerOptions | None) -> dict[str, str]:
    """The header of a reply that names the parameters without effect."""
    names = (*_WITHOUT_EFFECT, *(() if options and options.names else _LENGTHS))
    found = [name for name in names if getattr(request, name, None) is not None]
    found += [] if request.model == MODEL else ["model"]
    return {"x-sluice-ignored": ", ".join(found)} if found else {}
