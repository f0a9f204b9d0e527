"""`POST /v1/responses` and `POST /mcp`. Responses have our own fields, too: release, trace, citations, and so on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from sluice.extras.clients.responses_schema import ResponsesRequest
from sluice.serving import openapi as documents
from sluice.serving.answer import Answer
from sluice.serving.auth import caller_of
from sluice.serving.feedback import proof_of
from sluice.serving.replies import AnswerStream, event
from sluice.serving.request_schema import MODEL, ignored
from sluice.serving.routing import needs_scope
from sluice.serving.telemetry.traces import current_trace

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from sluice.serving.runner import ApplicationRunner


_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_STATUSES = (400, 401, 403, 413, 429, 500, 502, 503, 504)
_BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
_STREAM = {"text/event-stream": {"schema": {"type": "object", "required": ["event", "data"]}}}


class ResponseFrame:
    def __init__(self, request: ResponsesRequest, release: str, trace_id: str, proof: str) -> None:
        self._trace = trace_id
        self._number = 0
        self._begun = False  # the message of the answer
        self._frame: dict[str, Any] = {
            "id": f"resp_{trace_id}{proof}",  # feedback on it is taken by the proof
            "object": "response",
            "created_at": int(time.time()),
            "model": MODEL,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "metadata": request.metadata or {},
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": request.temperature,
            "text": {"format": (request.text and request.text.format) or {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": request.tools or [],
            "top_p": request.top_p,
            "max_output_tokens": request.max_output_tokens,
            "release": release,
            "trace": trace_id,
        }

    def whole(self, answer: Answer) -> dict[str, Any]:
        reason, usage = _INCOMPLETE.get(answer.finish_reason), answer.usage
        output = [self._message(_part(answer))] if answer.text or not answer.tool_calls else []
        return self._frame | {
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [*output, *(self._call(call) for call in answer.tool_calls)],
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_tokens},
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            },
            "citations": [asdict(citation) for citation in answer.citations],
            "blocked": answer.blocked,
            "declined": answer.declined,
        }

    def opening(self) -> bytes:
        begun = self._frame | {"status": "in_progress", "output": [], "usage": None}
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _begin_message(self, kind: str = "output_text") -> bytes:
        self._begun = True
        item = self._message(None, status="in_progress")
        added = self._event("response.output_item.added", output_index=0, item=item)
        part: dict[str, Any] = {"type": kind, kind.removeprefix("output_"): ""}
        part |= {"annotations": []} if kind == "output_text" else {}
        return added + self._event("response.content_part.added", **self._place(), part=part)

    def piece(self, text: str) -> bytes:
        begun = b"" if self._begun else self._begin_message()
        return begun + self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _end_message(self, answer: Answer) -> bytes:
        part = _part(answer)
        kind = part["type"]
        logprobs: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        said = {kind.removeprefix("output_"): answer.text, **logprobs}
        return (
            self._event(f"response.{kind}.done", **self._place(), **said)
            + self._event("response.content_part.done", **self._place(), part=part)
            + self._event("response.output_item.done", output_index=0, item=self._message(part))
        )

    def _calls(self, answer: Answer) -> bytes:
        events = b""
        for place, call in enumerate(answer.tool_calls, start=1 if answer.text else 0):
            item = self._call(call)
            begun = item | {"arguments": "", "status": "in_progress"}
            events += self._event("response.output_item.added", output_index=place, item=begun)
            at = {"item_id": item["id"], "output_index": place}
            events += self._event("response.function_call_arguments.delta", **at, delta=item["arguments"])
            done = {"arguments": item["arguments"], "name": item["name"]}
            events += self._event("response.function_call_arguments.done", **at, **done)
            events += self._event("response.output_item.done", output_index=place, item=item)
        return events

    def closing(self, answer: Answer) -> bytes:
        events = b""
        if answer.refusal:
            events = self._begin_message("refusal")
            events += self._event("response.refusal.delta", **self._place(), delta=answer.text)
        elif not self._begun and not answer.tool_calls:
            events = self._begin_message()
        if self._begun or not answer.tool_calls:
            events += self._end_message(answer)
        whole = self.whole(answer)
        return events + self._calls(answer) + self._event(f"response.{whole['status']}", response=whole)

    def failed(self, status: int, message: str, *, code: str | None, param: str | None = None) -> bytes:  # noqa: ARG002
        error = {"code": "server_error", "message": message}
        return self._event("response.failed", response=self._frame | {"status": "failed", "output": [], "error": error})

    def _message(self, part: Mapping[str, Any] | None, status: str = "completed") -> dict[str, Any]:
        item = {"type": "message", "id": f"msg_{self._trace}", "role": "assistant", "status": status}
        return item | {"content": [part] if part else []}

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        item = {"type": "function_call", "id": f"fc_{call['id']}", "call_id": call["id"], "status": "completed"}
        return {**item, **call["function"]}

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._trace}", "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return f"event: {kind}\n".encode() + event({"type": kind, "sequence_number": self._number - 1} | fields)


def _part(answer: Answer) -> dict[str, Any]:
    if answer.refusal:
        return {"type": "refusal", "refusal": answer.text}
    return {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}


def add_routes(api: FastAPI, release: str, application: ApplicationRunner, count: Callable[[Answer], None]) -> None:
    replies = documents.answers(dict[str, Any], *_STATUSES, content=_STREAM)

    @api.post("/v1/responses", responses=replies, openapi_extra=needs_scope("chat"))
    async def responses(request: ResponsesRequest, connection: Request) -> Response:
        """Answer in the form of OpenAI's Responses API, whole or as server-sent events. Nothing is stored."""
        caller = caller_of(connection.scope)
        tenant, trace = caller.tenant, current_trace()
        trace.stream, trace.tenant = bool(request.stream), tenant or ""
        chat, options = request.as_chat()
        frame = ResponseFrame(request, release, trace.trace_id, proof_of(caller, trace.trace_id, release))
        if not request.stream:
            answer = await application.answer(chat.conversation(), tenant=tenant, options=options)
            count(answer)
            return JSONResponse(frame.whole(answer), headers=ignored(request, options))
        items = application.stream(chat.conversation(), tenant=tenant, options=options)
        return AnswerStream(frame, await anext(items), items, count, ignored(request, options))

    said: dict[int | str, dict[str, Any]] = {
        status: {"model": dict[str, Any], "description": "An error of JSON-RPC."} for status in (400, 404, 406)
    }
    said |= documents.answers(dict[str, Any], 401, 403, 413, 429, 500, 503) | {202: {"description": "A notification."}}

    @api.post("/mcp", responses=said, openapi_extra=needs_scope("chat") | {"requestBody": _BODY})
    async def mcp(connection: Request) -> Response:
        """Talk to a server of the Model Context Protocol (streamable HTTP, without sessions): tools ask and search."""
        if connection.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(400, "send JSON with the header `content-type: application/json`")
        return _McpReply(application, count, release)


class _McpReply(Response):
    """Leaves the connection to the MCP SDK, which is imported with the first request."""

    def __init__(self, application: ApplicationRunner, count: Callable[[Answer], None], release: str) -> None:
        super().__init__()
        self._parts = (application, count, release)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = await asyncio.to_thread(import_module, "sluice.extras.clients.mcp_server")
        await server.handle(*self._parts, scope, receive, send)
