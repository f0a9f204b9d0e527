"""An MCP server with the tools `ask` and `search`, without sessions: any replica takes any request."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from sluice.core.errors import SluiceError
from sluice.serving.answer import REFUSED, TOO_LONG, Answer, ModelError, RequestError
from sluice.serving.auth import Caller, caller_of
from sluice.serving.feedback import proof_of
from sluice.serving.replies import ID_PREFIX, model_fault
from sluice.serving.request_state import RequestState, enter_request
from sluice.serving.telemetry.traces import current_trace

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from sluice.serving.runner import ApplicationRunner

_log = logging.getLogger(__name__)
logging.getLogger("mcp.server.streamable_http_manager").setLevel(logging.WARNING)  # it notes each request


_TEXT, _OBJECTS = {"type": "string"}, {"type": "array", "items": {"type": "object"}}
_ANSWER: dict[str, Any] = {"answer": _TEXT, "declined": {"type": "boolean"}, "blocked": {"type": ["string", "null"]}}
_ANSWER |= {"citations": _OBJECTS, "id": _TEXT, "trace": _TEXT}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _tool(name: str, argument: str, gives: dict[str, Any], description: str) -> types.Tool:
    takes = _object({argument: {"type": "string", "minLength": 1}})
    notes = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
    named: dict[str, Any] = {"name": name, "description": description, "annotations": notes}
    return types.Tool(**named, input_schema=takes, output_schema=_object(gives))


_TOOLS = [
    _tool("ask", "question", _ANSWER, "Answers a question from the documents of this service, with citations."),
    _tool("search", "query", {"passages": _OBJECTS}, "Finds passages of the documents that are near to a query."),
]
_ARGUMENTS = {tool.name: next(iter(tool.input_schema["properties"])) for tool in _TOOLS}


async def handle(
    application: ApplicationRunner,
    count: Callable[[Answer], None],
    release: str,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    caller = caller_of(scope)
    current_trace().tenant = caller.tenant or ""

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_TOOLS)

    async def call_tool(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        given, name = asked.arguments or {}, _ARGUMENTS.get(asked.name)
        if name is None or {*given} != {name} or not isinstance(given[name], str):
            return _failed(f"the tools are {', '.join(f'{tool}({one})' for tool, one in _ARGUMENTS.items())}")
        if asked.name == "ask":
            return await _result(lambda: _ask(application, count, given[name], caller, release))
        return await _result(lambda: _search(application, given[name], caller.tenant))

    server: Server[Any] = Server("sluice", version=release, on_list_tools=list_tools, on_call_tool=call_tool)
    # Keys and the loopback address are looked at before; so is the size of the body.
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    async with manager.run():
        await manager.handle_request(scope, receive, send)


async def _ask(
    application: ApplicationRunner, count: Callable[[Answer], None], question: str, caller: Caller, release: str
) -> tuple[str, dict[str, Any]]:
    answer = await application.answer([{"role": "user", "content": question}], tenant=caller.tenant)
    count(answer)
    citations = [asdict(citation) for citation in answer.citations]
    found = {"answer": answer.text, "declined": answer.declined, "blocked": answer.blocked, "citations": citations}
    trace = current_trace().trace_id
    return answer.text, found | {"id": f"{ID_PREFIX}{trace}{proof_of(caller, trace, release)}", "trace": trace}


async def _search(application: ApplicationRunner, query: str, tenant: str | None) -> tuple[str, dict[str, Any]]:
    services = application.services
    settings = services.settings
    if not query.strip():
        raise RequestError("query: it is empty", param="query")
    verdict = await services.guards.check_input(query.strip())
    if verdict.blocked:
        raise RequestError(TOO_LONG if verdict.reasons == ("length.too_long",) else REFUSED, param="query")
    request = RequestState((), tenant, decline=settings.decline, seconds=settings.llm.timeout_seconds)
    enter_request(request)
    found = await services.retriever.ainvoke(verdict.text)
    passages = [{"id": one.id, "text": one.page_content, **one.metadata} for one in found]
    return json.dumps(passages, ensure_ascii=False), {"passages": passages}


async def _result(work: Callable[[], Awaitable[tuple[str, dict[str, Any]]]]) -> types.CallToolResult:
    """Return a tool's result, or an error in the words of the HTTP API."""
    try:
        text, found = await work()
    except ModelError as error:
        _log.error("no answer: %s", error)
        return _failed(model_fault(error)[1])
    except SluiceError as error:
        return _failed(error.message)
    content: list[types.ContentBlock] = [types.TextContent(text=text)]
    return types.CallToolResult(content=content, structured_content=found)


def _failed(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=message)], is_error=True)
