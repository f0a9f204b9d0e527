"""The tools: functions of src/assistant/tools.py and tools of MCP servers, checked against their pins."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.extras.tools.settings import FILE, REPIN, PinnedTool, ServerSettings, ToolSettings, ToolsFile
from sluice.serving.services import TOOLS

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool
    from mcp.client.client import Client

KEY = "idempotency_key"  # an argument of what writes, and of no schema that a model sees
META = "io.sluice/idempotency-key"  # where a server finds it, in `_meta` of the call


class ToolChangedError(SluiceError):
    """A tool's description differs from its pin."""


class ToolFailedError(SluiceError):
    """A tool gave no result. The model may read the message."""


class Tool:
    def __init__(self, name: str, settings: ToolSettings, pinned: PinnedTool, server: ServerSettings | None) -> None:
        self.name, self.settings, self.pinned = name, settings, pinned
        self._server = server
        self._validator = jsonschema_rs.validator_for(pinned.arguments)
        self._function = None if server else _function(name, settings)

    @property
    def writes(self) -> bool:
        return self.settings.effect == "write"

    @property
    def remote(self) -> bool:
        return self._server is not None

    def fault(self, args: Mapping[str, Any]) -> str:
        """Return what is wrong with the arguments, or ""."""
        found = next(self._validator.iter_errors(dict(args)), None)
        if found is None:
            return ""
        return f"{'/'.join(map(str, found.instance_path)) or 'the arguments'}: {found.message}"[:300]

    async def call(self, args: Mapping[str, Any], key: str = "") -> str:
        if self._function:
            text = await self._function.ainvoke({**args, **({KEY: key} if key else {})})
        else:
            assert self._server is not None
            text = await _call_server(self._server, self, args, key)
        return str(text)[: self.settings.max_characters]


def _function(name: str, settings: ToolSettings) -> StructuredTool:
    from langchain_core.tools import StructuredTool

    made = StructuredTool.from_function(TOOLS[name])
    if (KEY in made.args) is not (settings.effect == "write"):
        said = "writes, and has to take" if settings.effect == "write" else f"has `effect: {settings.effect}` and takes"
        remedy = f"correct `effect`, or the function in {TOOLS[name].__module__}"
        raise SluiceError(f"config/{FILE}: the function {name!r} {said} an argument `{KEY}`", remedy=remedy)
    return made


def function_pin(name: str, settings: ToolSettings) -> PinnedTool:
    """Return the current description of a function: its docstring and the schema of its arguments."""
    made = _function(name, settings)
    schema: dict[str, Any] = made.get_input_jsonschema()
    properties = {key: one for key, one in schema.get("properties", {}).items() if key != KEY}
    needed = [key for key in schema.get("required", ()) if key != KEY]
    closed = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    closed |= {"$defs": schema["$defs"]} if "$defs" in schema else {}
    said: dict[str, Any] = {"description": made.description, "arguments": closed}
    return PinnedTool(**said, digest=digest_of(said | {"name": name}))


async def server_pins(name: str, server: ServerSettings) -> dict[str, PinnedTool]:
    """Return the current descriptions of a server's tools that config/tools.yaml names."""
    try:
        async with asyncio.timeout(server.timeout_seconds), _connected(server) as client:
            found = await _listed(client)
    except SluiceError:
        raise
    except Exception as error:
        where = f"config/{FILE}: the MCP server {name!r} at {server.url}"
        raise SluiceError(f"{where}: no answer: {type(error).__name__}") from error
    if missing := sorted(server.tools.keys() - found.keys()):
        raise ToolChangedError(f"config/{FILE}: the MCP server {name!r} has no tool {missing[0]!r}", remedy=REPIN)
    return {tool: found[tool] for tool in server.tools}


def changed(pinned: Mapping[str, PinnedTool], said: Iterable[tuple[str, PinnedTool]]) -> list[str]:
    """Return the names of the tools that differ from their pins."""
    return [name for name, one in said if one.digest != pinned[name].digest]


def open_tools(tools: ToolsFile, lock: Mapping[str, PinnedTool]) -> dict[str, Tool]:
    now = ((name, function_pin(name, settings)) for name, settings in tools.functions.items())
    if moved := changed(lock, now):
        raise ToolChangedError(f"the function {moved[0]!r}: its description no longer matches the pin", remedy=REPIN)
    return {name: Tool(name, settings, lock[name], server) for name, settings, server in tools.each()}


async def check_servers(tools: ToolsFile, lock: Mapping[str, PinnedTool]) -> None:
    """Raise ToolChangedError if a server's tool differs from its pin."""
    for name, server in tools.servers.items():
        if moved := changed(lock, (await server_pins(name, server)).items()):
            said = f"the MCP server {name!r} says something else of {moved[0]!r} than its pin"
            raise ToolChangedError(f"config/{FILE}: {said}", remedy=REPIN)


@asynccontextmanager
async def _connected(server: ServerSettings) -> AsyncIterator[Client]:
    """Connect with the official SDK, which takes a second to load, without its cache."""
    from httpx2 import AsyncClient
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    key = os.environ.get(server.key_env, "") if server.key_env else ""
    if server.key_env and not key:
        raise SluiceError(f"{server.url}: the variable {server.key_env} is not set", remedy="set it to the token")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    http = AsyncClient(headers=headers, timeout=server.timeout_seconds, trust_env=False)
    async with http, Client(streamable_http_client(server.url, http_client=http), cache=None) as client:
        yield client


async def _listed(client: Client) -> dict[str, PinnedTool]:
    found, cursor = {}, None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            said = tool.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"meta"})
            about: dict[str, Any] = {"description": tool.description or "", "arguments": tool.input_schema}
            found[tool.name] = PinnedTool(**about, digest=digest_of(said))
        if (cursor := page.next_cursor) is None:
            return found


async def _call_server(server: ServerSettings, tool: Tool, args: Mapping[str, Any], key: str) -> str:
    async with _connected(server) as client:
        now = (await _listed(client)).get(tool.name)
        meta: Any = {META: key} if key else None
        same = now is not None and now.digest == tool.pinned.digest
        result = await client.call_tool(tool.name, dict(args), meta=meta) if same else None
    if result is None:  # raised here: within the connection it would be one of a group
        raise ToolChangedError(f"the tool {tool.name!r}: its description no longer matches the pin")
    text = "\n".join(block.text for block in result.content if block.type == "text")
    if result.is_error:
        raise ToolFailedError(text[:300] or "it failed")
    structured = result.structured_content
    return text or (json.dumps(structured, ensure_ascii=False) if structured is not None else "")
