"""The client of the official MCP SDK, unchanged, by both generations of the protocol that it speaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from support.libraries import Library
from support.serving.process import Service

pytestmark = [pytest.mark.usefixtures("loopback"), pytest.mark.timeout(1800)]

client, transport, shared = Library("mcp.client.client"), Library("mcp.client.streamable_http"), Library("httpx2")
OVERLAP = "How much overlap do chunks have?"


def ask(service: Service, secret: str, *calls: tuple[str, dict[str, Any]], mode: str = "auto") -> list[Any]:
    async def talk() -> list[Any]:
        async with opened() as session:
            found = (await session.list_tools()).tools
            assert all(tool.output_schema for tool in found)
            tools = [tool.name for tool in found]
            return [tools, *[await session.call_tool(name, given) for name, given in calls]]

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        http_client = shared.AsyncClient(headers={"authorization": f"Bearer {secret}"}, trust_env=False, timeout=240)
        async with http_client:
            way = transport.streamable_http_client(f"{service.url}/mcp", http_client=http_client)
            async with client.Client(way, mode=mode) as session:
                yield session

    return asyncio.run(talk())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_it_asks_and_searches(service: Service, secret: str, mode: str) -> None:
    given = ("ask", {"question": OVERLAP}), ("search", {"query": OVERLAP})
    tools, answer, found = ask(service, secret, *given, mode=mode)
    assert tools == ["ask", "search"]
    assert answer.is_error is False
    assert answer.content[0].text == answer.structured_content["answer"] != ""
    assert [passage["doc_id"] for passage in found.structured_content["passages"]] == ["chunking", "cost"]


def test_a_scripted_answer_has_its_citations(scripted: Service, secret: str) -> None:
    _, answer = ask(scripted, secret, ("ask", {"question": OVERLAP}))
    assert answer.structured_content["answer"] == "64 tokens"
    assert answer.structured_content["citations"][0]["document"] == "chunking"
    scored = {"trace_id": answer.structured_content["id"], "score": 1}
    headers = {"authorization": f"Bearer {secret}"}
    reply = httpx.post(f"{scripted.url}/v1/feedback", json=scored, headers=headers, trust_env=False, timeout=240)
    assert (reply.status_code, reply.json()["id"]) == (200, answer.structured_content["trace"])


def test_what_is_wrong_is_said_in_the_result(scripted: Service, secret: str) -> None:
    wrong = [("ask", {"questoin": "?"}), ("ask", {"question": " "}), ("erase", {}), ("search", {"query": " "})]
    _, *results = ask(scripted, secret, *wrong)
    assert [result.is_error for result in results] == [True] * 4
    assert "ask(question), search(query)" in results[0].content[0].text


def test_it_needs_a_key(scripted: Service) -> None:
    reply = httpx.post(f"{scripted.url}/mcp", json={}, trust_env=False, timeout=240)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
