"""A strictly validated request of OpenAI's Responses API, converted to a chat request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, field_validator, model_validator

from sluice.serving.answer import RequestError
from sluice.serving.request_schema import MODEL, OWN_INSTRUCTIONS, ChatRequest, caller_options
from sluice.serving.request_state import CallerOptions

_PARTS = ("input_text", "output_text", "refusal")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["input_text", "output_text", "refusal"]
    text: str = ""
    refusal: str = ""


class InputItem(BaseModel):
    """Clients send items back with further keys, which are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | tuple[_Part, ...] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | tuple[_Part, ...] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
            "reasoning": (),
        }
        for name in needed[self.type]:
            if getattr(self, name) is None:
                raise ValueError(f"{self.type} needs {name}")
        return self

    @field_validator("content", "output", mode="before")
    @classmethod
    def _only_text(cls, value: Any) -> Any:
        kinds = [part.get("type") for part in value if isinstance(part, dict)] if isinstance(value, list) else []
        if any(kind not in (*_PARTS, "reasoning_text") for kind in kinds):  # a kind may be an object, and in no set
            raise ValueError("only text parts are supported")
        return value


class TextSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesRequest(BaseModel):
    """Nothing is stored, so no response can be continued by its id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | tuple[InputItem, ...] = Field(min_length=1, max_length=100_000)
    model: str = MODEL
    stream: StrictBool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    text: TextSettings | None = None
    max_output_tokens: int | None = Field(None, ge=1)

    # Accepted without effect.
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    metadata: dict[str, str] | None = None
    store: StrictBool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    truncation: str | None = None
    max_tool_calls: int | None = None
    stream_options: dict[str, Any] | None = None

    # Refused when they ask for anything.
    instructions: str | None = None
    background: StrictBool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    top_logprobs: int | None = None

    @field_validator("background", "previous_response_id", "conversation", "prompt", "top_logprobs")
    @classmethod
    def _asks_for_nothing(cls, value: Any) -> Any:
        if value:
            raise ValueError("not supported, because this service stores nothing: leave it out")
        return value

    def as_chat(self) -> tuple[ChatRequest, CallerOptions | None]:
        """Convert to a chat request and its options. Raises RequestError in the words of this API."""
        form = (self.text and self.text.format) or None
        schema = {key: value for key, value in (form or {}).items() if key != "type"}
        fields = {
            "messages": _messages(self.input),
            "tools": self.tools and [_tool(one) for one in self.tools],
            "tool_choice": _tool(self.tool_choice) if isinstance(self.tool_choice, dict) else self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": form and {"type": form.get("type")} | ({"json_schema": schema} if schema else {}),
            "max_completion_tokens": self.max_output_tokens,
        }
        if (self.instructions or "").strip():
            raise RequestError(f"instructions: {OWN_INSTRUCTIONS}", param="instructions", code="unsupported_parameter")
        try:
            chat = ChatRequest.model_validate(fields)
            return chat, caller_options(chat)
        except ValidationError as error:
            raise RequestError(f"input: {error.errors()[0]['msg']}", param="input") from None
        except RequestError as error:
            place = "input" if error.param.startswith("messages") else error.param
            place = place.replace("response_format.json_schema", "text.format").replace(".function", "")
            place = place.replace("response_format", "text.format")
            raise RequestError(error.message.replace(error.param, place), param=place, code=error.code) from None


def _tool(given: dict[str, Any]) -> dict[str, Any]:
    return {"type": given.get("type"), "function": {key: value for key, value in given.items() if key != "type"}}


def _messages(items: str | Sequence[InputItem]) -> list[dict[str, Any]]:
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[dict[str, Any]] = []
    for item in items:
        if item.type == "message":
            messages.append({"role": item.role, "content": _text(item.content)})
        elif item.type == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)})
        elif item.type == "function_call":
            if not (messages and messages[-1].get("tool_calls")):
                messages.append({"role": "assistant", "content": "", "tool_calls": []})
            function = {"name": item.name, "arguments": item.arguments}
            messages[-1]["tool_calls"].append({"id": item.call_id, "type": "function", "function": function})
    return messages


def _text(content: str | tuple[_Part, ...] | None) -> str:
    return content if isinstance(content, str) else "\n".join(part.text or part.refusal for part in content or ())
