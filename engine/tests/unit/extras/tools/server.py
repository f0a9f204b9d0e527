"""An MCP server of the official SDK (mcp 2.3, `mcp.server.lowlevel.Server` over streamable HTTP) on loopback. What it
says of its one tool can be changed while it runs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Mount

from sluice.core.processes import free_port

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name of a city."}},
    "required": ["city"],
}


def weather(**changes: Any) -> types.Tool:
    said: dict[str, Any] = {"name": "weather", "description": "The weather of a city.", "input_schema": SCHEMA}
    said["annotations"] = types.ToolAnnotations(read_only_hint=True)
    return types.Tool(**(said | changes))


@dataclass
class WeatherServer:
    """`tools`: what it lists; `calls`: arguments and `_meta` of each call that came; `result`: what it gives."""

    url: str = ""
    tools: list[types.Tool] = field(default_factory=lambda: [weather()])
    calls: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    result: str = "Rain in Riga."
    fails: bool = False
    authorization: str = ""

    async def list_tools(self, _: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self.tools)

    async def call_tool(self, _: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        self.calls.append((asked.arguments or {}, dict(asked.meta or {})))
        return types.CallToolResult(content=[types.TextContent(text=self.result)], is_error=self.fails)


@contextmanager
def running(app: Any, lifespan: Any = "off") -> Iterator[str]:
    """Serve an ASGI application in a thread and return its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan=lifespan))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def served() -> Iterator[WeatherServer]:
    found = WeatherServer()
    mcp: Server[Any] = Server("weather", on_list_tools=found.list_tools, on_call_tool=found.call_tool)
    manager = StreamableHTTPSessionManager(mcp, json_response=True, stateless=True)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with manager.run():
            yield

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        found.authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        await manager.handle_request(scope, receive, send)

    app = Starlette(routes=[Mount("/mcp", app=handle)], lifespan=lifespan)
    with running(app, "on") as address:
        found.url = f"{address}/mcp/"
        yield found
