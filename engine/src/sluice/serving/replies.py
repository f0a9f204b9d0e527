"""Responses in OpenAI's format: completions, stream chunks, errors.

Our own fields beside theirs: release, citations, blocked, declined.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from sluice.serving.answer import Answer
from sluice.serving.request_schema import MODEL

ID_PREFIX = "chatcmpl-"
DONE = b"data: [DONE]\n\n"


class ReplyFrame:
    """The frame that all parts of one reply share: id, time, model, release, trace.

    `trace_id`: 32 hex digits; the id of the reply is made from it, so that feedback finds the trace, and of `proof`,
    so that feedback is taken."""

    def __init__(self, release: str, *, trace_id: str, include_usage: bool = False, proof: str = "") -> None:
        self._frame = {
            "id": f"{ID_PREFIX}{trace_id}{proof}",
            "created": int(time.time()),
            "model": MODEL,
            "release": release,
            "trace": trace_id,
        }
        self._include_usage = include_usage

    def completion(self, answer: Answer) -> dict[str, Any]:
        text, refusal = (None, answer.text) if answer.refusal else (answer.text, None)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
        if answer.tool_calls:
            message |= {"content": text or None, "tool_calls": answer.tool_calls}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        return (
            self._frame | {"object": "chat.completion", "choices": [choice], "usage": _usage(answer)} | _extras(answer)
        )

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def closing(self, answer: Answer) -> bytes:
        """The chunk with the finish reason and our fields, then the usage where it was asked for, then [DONE]."""
        calls = [{"index": place, **call} for place, call in enumerate(answer.tool_calls)]
        last = self._chunk({"tool_calls": calls}) if calls else b""
        last += self._chunk({"refusal": answer.text}) if answer.refusal else b""
        last += self._chunk({}, finish_reason=answer.finish_reason, **_extras(answer))
        if not self._include_usage:
            return last + DONE
        usage = self._frame | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(answer)}
        return last + event(usage) + DONE

    def _chunk(self, delta: Mapping[str, Any], *, finish_reason: str | None = None, **extras: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return event(self._frame | {"object": "chat.completion.chunk", "choices": [choice]} | usage | extras)


def event(value: Mapping[str, Any]) -> bytes:
    """One server-sent event with JSON in it."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    else:
        kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """OpenAI's error object as a response."""
    # A message may quote what the client sent, such as the name of a field with half a character in it.
    message = message.encode("utf-8", "replace").decode()
    param = param.encode("utf-8", "replace").decode() if param else param
    return JSONResponse(error_body(status, message, code=code, param=param), status, headers=headers)


def _usage(answer: Answer) -> dict[str, Any]:
    asked, said = answer.usage.prompt_tokens, answer.usage.completion_tokens
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    return usage | {"prompt_tokens_details": {"cached_tokens": answer.usage.cached_tokens}}


def _extras(answer: Answer) -> dict[str, Any]:
    shown = {"citations": [asdict(one) for one in answer.citations], "blocked": answer.blocked}
    return shown | {"declined": answer.declined} | ({"steps": answer.steps} if answer.steps else {})
