"""The paths of the extra: `POST /v1/responses` and `POST /mcp`, with the keys and limits of the chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from sluice.extras.clients.responses import ResponseFrame, response_events
from sluice.extras.clients.responses_schema import ResponsesRequest
from sluice.serving import openapi as documents
from sluice.serving.answer import Answer
from sluice.serving.auth import caller_of
from sluice.serving.feedback import proof_of
from sluice.serving.replies import EventStream
from sluice.serving.request_schema import ignored
from sluice.serving.routing import needs_scope
from sluice.serving.telemetry.traces import current_trace

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from sluice.serving.runner import ApplicationRunner

_STATUSES = (400, 401, 403, 413, 429, 500, 502, 503, 504)
_BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
_STREAM = {"text/event-stream": {"schema": {"type": "object", "required": ["event", "data"]}}}


def add_routes(api: FastAPI, release: str, application: ApplicationRunner, count: Callable[[Answer], None]) -> None:
    """Adds the paths to the service."""
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
        first = await anext(items)  # a failure until then has a status of its own
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **ignored(request, options)}
        events = response_events(frame, first, items, count)
        return EventStream(events, items, media_type="text/event-stream", headers=headers)

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
        server = await asyncio.to_thread(_mcp_server)
        await server.handle(*self._parts, scope, receive, send)


def _mcp_server() -> Any:
    from sluice.extras.clients import mcp_server

    return mcp_server
