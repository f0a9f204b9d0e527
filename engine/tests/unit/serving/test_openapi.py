import json

import pytest

from sluice.core.extras import extras
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.openapi import ChatCompletion, ChatCompletionChunk, ErrorReply
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from support.load.service import SteadyChat, SteadyRetriever
from support.serving.fakes import NoChecks
from unit.serving.client import CHAT, Client
from unit.serving.test_http_api import events


def test_every_path_is_described_with_its_replies(client: Client) -> None:
    document = client.get("/openapi.json").json()
    of_an_extra = {"/mcp", "/v1/responses"} if "clients" in extras() else set()
    probes = {"/", "/healthz", "/metrics", "/openapi.json", "/readyz", "/version"}
    assert set(document["paths"]) == probes | of_an_extra | {CHAT, "/v1/feedback", "/v1/models", "/v1/models/{model}"}
    assert document["info"]["version"] == "r-0123456789ab"
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            # A notification of MCP is taken without a word.
            assert all(reply["content"] for status, reply in operation["responses"].items() if status != "202"), path
            assert "422" not in operation["responses"]
            # What can be refused for its key says so, and what needs none does not.
            assert ("401" in operation["responses"]) == ("security" in operation), path


def test_real_replies_have_the_described_shapes(client: Client) -> None:
    ChatCompletion.model_validate_json(client.chat().content, strict=True)
    *chunks, done = events(client.chat(stream=True, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)
    assert [chunk["citations"][0]["document"] for chunk in chunks if chunk.get("citations")] == ["chunking"]
    ErrorReply.model_validate(client.chat(n=2).json(), strict=True)


@pytest.mark.parametrize(
    "content",
    [
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1' + b"0" * 3000 + b"}",
        b"[" * 4000,
        b'{"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}',  # weakness 7
        b'{"messages": [{"role": "user", "content": [{"text": "x"}, ["text"], 1, null]}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "tool_choice": [[{}]], "modalities": [["text"]]}',
    ],
)
def test_strange_json_is_never_a_defect(bundle: ReleaseBundle, content: bytes) -> None:
    answers_anything = ApplicationRunner(bundle, SteadyChat(0), SteadyRetriever(), NoChecks())
    client = Client(create_app(bundle, answers_anything, TrafficState()))
    response = client.send("POST", CHAT, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400)
