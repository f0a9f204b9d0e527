"""The OpenAPI document: every path with every possible status and its body.

The models here only describe responses; `replies.py` builds them without pydantic, because it handles every token."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from sluice.llm.chat import FinishReason
from sluice.serving.answer import Citation
from sluice.serving.middleware import CHAT
from sluice.serving.routing import KEY_NEEDED

_SUMMARY = "Answers questions from the documents of one release. OpenAI's chat API, with citations and the release id."
_ABOUT = (
    "You talk to an AI system: a language model writes the answers, and they may be wrong. Tell the people who read "
    "them. Parameters without effect are named in the header `x-sluice-ignored` of a reply."
)
_REF = "#/components/schemas/{model}"


class _ReplyModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(_ReplyModel):
    """`code` is for programs, `message` for people; `param` names the field at fault."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str | None


class ErrorReply(_ReplyModel):
    """OpenAI's error object."""

    error: ErrorDetail


class AssistantMessage(_ReplyModel):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[dict[str, Any]] | None = None


class Choice(_ReplyModel):
    index: Literal[0]
    message: AssistantMessage
    logprobs: None
    finish_reason: FinishReason


class ChunkDelta(_ReplyModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChunkChoice(_ReplyModel):
    index: Literal[0]
    delta: ChunkDelta
    logprobs: None
    finish_reason: FinishReason | None


class UsageReply(_ReplyModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[Literal["cached_tokens"], int]


class _ChatReply(_ReplyModel):
    id: str
    created: int
    model: str
    release: str
    trace: str
    steps: list[dict[str, Any]] | None = None


class ChatCompletion(_ChatReply):
    """OpenAI's completion, and `release`, `trace`, `citations`, `blocked` (a guard's reasons, or null), `declined`."""

    object: Literal["chat.completion"]
    choices: list[Choice]
    usage: UsageReply
    citations: list[Citation]
    blocked: str | None
    declined: bool


class ChatCompletionChunk(_ChatReply):
    """The data of one event. That with the finish reason has `citations`, `blocked`, `declined`; [DONE] is the last."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: UsageReply | None = None
    citations: list[Citation] | None = None
    blocked: str | None = None
    declined: bool | None = None


class ModelReply(_ReplyModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    release: str


class ModelList(_ReplyModel):
    object: Literal["list"]
    data: list[ModelReply]


class FeedbackReply(_ReplyModel):
    """`id`: the trace that the feedback is about."""

    object: Literal["feedback"]
    id: str


class StateReply(_ReplyModel):
    status: Literal["alive", "its store is gone", "ready", "draining"]


class VersionReply(_ReplyModel):
    """`manifest`: release.json, empty for a draft; `fault`: what a drill has injected; `other_code`: files of code that
    differ from those that the release was made with."""

    release: str
    fault: str | None
    other_code: list[str]
    manifest: dict[str, Any]


_ERRORS = {
    400: "The request cannot be served as it is; `param` names the field.",
    401: "No key, or one that is not in force.",
    403: "The key lacks the scope; without keys: a page or a host name from elsewhere.",
    404: "There is none of that name or id for this caller.",
    409: "This key has scored this answer before, and corrected it.",
    413: "The body is too large.",
    429: "The key has used up its rate.",
    500: "A defect of the service; its log has it.",
    502: "The model gave no answer.",
    503: "The service is full, or cannot keep what was sent.",
    504: "The model gave no whole answer in time.",
}
_SECONDS = {"type": "integer", "minimum": 1}
_ERROR_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}},
    429: {"Retry-After": {"schema": _SECONDS, "required": True, "description": "Until a request may pass."}},
    503: {"Retry-After": {"schema": _SECONDS, "description": "Seconds to wait before trying again."}},
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": ErrorReply, "description": _ERRORS[status], "headers": _ERROR_HEADERS.get(status, {})}
        for status in statuses
    }


def answers(model: Any, *statuses: int, content: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, **({"content": content} if content else {})}, **failures(*statuses)}


def text(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {"schema": {"type": "string"}}}, "description": "As text."}}


# One event of the stream.
_CHUNK = {"contentMediaType": "application/json", "contentSchema": {"$ref": _REF.format(model="ChatCompletionChunk")}}
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"anyOf": [{"const": "[DONE]"}, {"type": "string", **_CHUNK}]}},
}
STREAM = {"text/event-stream": {"schema": _EVENT}}


def describe(api: FastAPI, version: str) -> dict[str, Any]:
    document = get_openapi(title="Sluice", version=version, summary=_SUMMARY, description=_ABOUT, routes=api.routes)
    schemas = document["components"]["schemas"]
    chunk = ChatCompletionChunk.model_json_schema(ref_template=_REF)
    schemas |= chunk.pop("$defs") | {"ChatCompletionChunk": chunk}
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own shape of a 422, which is never sent
        schemas.pop(name, None)
    chat = document["paths"][CHAT]["post"]["responses"]
    forbidden = chat["403"]  # any path, from a page of somebody else
    refusals = {status: chat[status] for status in ("401", "429")}  # any path that needs a key
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["summary"] = operation.get("description", operation["summary"]).partition(".")[0]
            operation.setdefault("tags", ["answers" if path.startswith(("/v1/", "/mcp")) else "service"])
            operation["responses"].pop("422", None)
            operation["responses"].setdefault("403", forbidden)
            if operation.setdefault("security", KEY_NEEDED["security"]):
                for status, reply in refusals.items():
                    operation["responses"].setdefault(status, reply)
            else:
                del operation["security"]
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key. A service without keys asks for none."}
    }
    return document
