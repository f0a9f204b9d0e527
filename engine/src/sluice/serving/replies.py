"""Responses in OpenAI's format: completions, streams of events, errors. Details of defects stay in the log."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sluice.core.settings import nearest
from sluice.serving.answer import Answer, ModelBusyError, ModelError, ModelTimeoutError, RequestError, SearchError
from sluice.serving.request_schema import MODEL
from sluice.serving.telemetry.traces import current_trace

ID_PREFIX = "chatcmpl-"
DONE = b"data: [DONE]\n\n"


class ReplyFrame:
    """The fields that all parts of one reply share. The id holds the trace's, for feedback to find it, and `proof`."""

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
        calls = [{"index": place, **call} for place, call in enumerate(answer.tool_calls)]
        last = self._chunk({"tool_calls": calls}) if calls else b""
        last += self._chunk({"refusal": answer.text}) if answer.refusal else b""
        last += self._chunk({}, finish_reason=answer.finish_reason, **_extras(answer))
        if not self._include_usage:
            return last + DONE
        usage = self._frame | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(answer)}
        return last + event(usage) + DONE

    def failed(self, status: int, message: str, *, code: str | None, param: str | None = None) -> bytes:
        return event(error_body(status, message, code=code, param=param))

    def _chunk(self, delta: Mapping[str, Any], *, finish_reason: str | None = None, **extras: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return event(self._frame | {"object": "chat.completion.chunk", "choices": [choice]} | usage | extras)


def event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
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


class AnswerFrame(Protocol):
    """Writes the events of one streamed answer."""

    def opening(self) -> bytes: ...

    def piece(self, text: str) -> bytes: ...

    def closing(self, answer: Answer) -> bytes: ...

    def failed(self, status: int, message: str, *, code: str | None, param: str | None = None) -> bytes: ...


class EventStream(StreamingResponse):
    """Sends `events`, then closes them and their `source`, also if the client has gone before the first.

    Starlette leaves what it iterates to the garbage collector. It would also watch for the client with two tasks of its
    own; `AdmissionMiddleware` does that already."""

    def __init__(self, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Any, None], **options: Any) -> None:
        super().__init__(events, **options)
        self._closed_at_the_end = (events, source)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the signature of ASGI
        try:
            await self.stream_response(send)
        finally:
            for generator in self._closed_at_the_end:
                await generator.aclose()


class AnswerStream(EventStream):
    """Sends the items of an answer as events. `first` is awaited already: a failure until then has its own status."""

    def __init__(
        self,
        frame: AnswerFrame,
        first: str | Answer,
        items: AsyncGenerator[str | Answer, None],
        count: Callable[[Answer], None],
        headers: Mapping[str, str],
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **headers}
        super().__init__(items, items, media_type="text/event-stream", headers=headers)  # type: ignore[arg-type]
        self._frame = frame
        self._first: str | Answer | None = first
        self._items = items
        self._count = count
        self._ended = False

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        events = self._frame.opening()
        while events:
            await send({"type": "http.response.body", "body": events, "more_body": True})
            events = b"" if self._ended else await self._next_events()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next_events(self) -> bytes:
        try:
            item = self._first if self._first is not None else await anext(self._items)
            self._first = None
            if isinstance(item, str):
                return self._frame.piece(item)
            self._ended = True
            self._count(item)
            return self._frame.closing(item)
        except ModelError as error:  # the status is sent already; the client's library raises on an error event
            current_trace().fail(type(error).__name__)
            _log.error("answer broken off: %s", error)
            status, message, code = model_fault(error)
            failure = self._frame.failed(status, message, code=code)
        except RequestError as error:  # such as a prompt that the result of a tool has made too long
            failure = self._frame.failed(400, error.message, code=error.code, param=error.param)
        except Exception:
            current_trace().fail("internal_error")
            _log.exception("answer broken off")
            failure = self._frame.failed(500, BROKEN, code="internal_error")
        self._ended = True
        return failure


BROKEN = "the service failed; its log says why"
# In place of pydantic's, which are about Python.
_WORDS = {
    "missing": "this field is required",
    "too_short": "at least {min_length} item(s)",
    "string_type": "has to be a string",
    "model_attributes_type": "has to be a JSON object",
}
_KINDS = {"str", "int", "float", "bool"}  # which pydantic names behind the place of a value that may be of several
_log = logging.getLogger(__name__)


def add_error_shapes(api: FastAPI) -> None:
    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fault = max(error.errors(), key=lambda one: len(_place(one)))  # of several kinds, the one that comes nearest
        place, kind, ctx = _place(fault), fault["type"], fault.get("ctx", {})
        what = _WORDS[kind].format(**ctx) if kind in _WORDS else fault["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden" and len(place) == 1:
            body = getattr(request.scope.get("route"), "body_field", None)
            known = list(getattr(body.field_info.annotation, "model_fields", ())) if body else []
            what = f"unknown field{nearest(str(place[0]), known)}"
        elif kind == "json_invalid":
            place, what = [], f"the body is not valid JSON: {ctx.get('error', what)}"
        elif isinstance(error.body, bytes):
            sent = request.headers.get("content-type")
            what = f"send the header `content-type: application/json`; this request has {sent or 'none'}"
        elif error.body is None and fault["loc"] == ("body",):
            what = "the body is empty: send a JSON object"
        param = param_of(place) or None
        return error_response(400, f"{param}: {what}" if param else what, param=param, code="invalid_request")

    @api.exception_handler(RequestError)
    async def not_served(_: Request, error: RequestError) -> Response:
        return error_response(400, error.message, param=error.param, code=error.code)

    @api.exception_handler(ModelError)
    async def model_failed(_: Request, error: ModelError) -> Response:
        _log.error("no answer: %s", error)
        status, message, code = model_fault(error)
        current_trace().fail(type(error).__name__)
        headers = {"retry-after": f"{math.ceil(error.retry_after)}"} if error.retry_after else None
        return error_response(status, message, code=code, headers=headers)

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        what, code, path = str(error.detail), None, request.url.path[:200]
        if what in ("Not Found", "Method Not Allowed"):
            paths = [getattr(one, "path", "") for one in request.app.routes]
            takes = (error.headers or {}).get("Allow")
            hint = f": this path takes {takes}" if takes else nearest(path, [one for one in paths if len(one) > 1])
            what, code = f"there is no {request.method} {path}{hint}", "unknown_path"
        elif what == "There was an error parsing the body":  # FastAPI's, of other bytes than UTF-8, or nested too deep
            what, code = "the body cannot be read: send JSON in UTF-8, not compressed", "invalid_request"
        return error_response(error.status_code, what, code=code, headers=error.headers)

    @api.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the server logs it
        return error_response(500, BROKEN, code="internal_error")


def param_of(place: Iterable[Any]) -> str:
    """Write the place of a field as OpenAI does, such as `messages[0].role`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _place(fault: Any) -> list[Any]:
    return [one for one in fault["loc"][1:] if isinstance(one, int) or not (one in _KINDS or "[" in one)]


def model_fault(error: ModelError) -> tuple[int, str, str]:
    if isinstance(error, ModelTimeoutError):
        return 504, error.message, "model_timeout"
    if isinstance(error, ModelBusyError):
        return 503, "the model answers as many questions as it can; try again soon", "overloaded"
    if isinstance(error, SearchError):
        return 503, "the passages cannot be searched now; try again soon", "search_unavailable"
    return 502, "the model gave no answer", "model_error"
