import asyncio
import json
import re
import sys
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

import pytest

from sluice.core.errors import SluiceError
from sluice.core.extras import extras
from sluice.core.processes import free_port
from sluice.llm.chat import ChatProvider, Delta, ToolParameters, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers import PROVIDERS, ProviderContext, connect
from sluice.llm.settings import ProviderSpec
from sluice.prompts import ModelParameters
from support.event_loop import run
from support.providers import clients
from support.providers.clients import unasked
from support.providers.server import CALLS, TEXT, USAGE, Asked, Upstream, upstream
from support.serving.fakes import provider_entry

pytestmark = pytest.mark.usefixtures("loopback", "keys")

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How müch?"}]
PARAMETERS = ModelParameters.model_validate(
    {"temperature": 0.5, "maxTokens": 7, "topP": 0.9, "seed": 3, "stop": ["END"]}
)
# The key of the fake servers: the word dummy.
KEY = "dummy"


class Wire(NamedTuple):
    entry: dict[str, Any]
    path: str
    base: str = ""  # what follows the address in base_url


WIRES = {
    "local": Wire({"model": "chat"}, "/v1/chat/completions"),
    "openai_compatible": Wire({"model": "m", "key_env": "TEST_KEY"}, "/v1/chat/completions", "/v1"),
    "openai": Wire({"model": "m", "key_env": "TEST_KEY"}, "/v1/chat/completions", "/v1"),
    "vllm": Wire({"model": "m", "key_env": "TEST_KEY"}, "/v1/chat/completions", "/v1"),
    "anthropic": Wire({"model": "claude-m", "key_env": "TEST_KEY"}, "/v1/messages"),
    "bedrock": Wire({"model": "maker.m-v1:0", "region": "eu-west-1"}, "/model/maker.m-v1%3A0/converse-stream"),
    "sagemaker": Wire({"model": "end", "region": "eu-west-1"}, "/endpoints/end/invocations-response-stream"),
    "langchain": Wire(
        {"model": "m", "key_env": "TEST_KEY", "integration": "openai", "options": {"stream_usage": True}},
        "/v1/chat/completions",
        "/v1",
    ),
}
if "aws_models" not in extras():
    WIRES = {kind: wire for kind, wire in WIRES.items() if kind not in ("bedrock", "sagemaker")}
if "vllm_adapters" not in extras():
    del WIRES["vllm"]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _fresh_clients() -> None:
    fresh_clients()


def fresh_clients() -> None:
    """LangChain keeps one HTTP client a process, which dies with the event loop of its first user."""
    from langchain_anthropic import _client_utils as anthropic_clients
    from langchain_openai.chat_models import _client_utils as openai_clients

    anthropic_clients._get_default_async_httpx_client.cache_clear()
    openai_clients._cached_async_httpx_client.cache_clear()


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def server(shared: Upstream) -> Upstream:
    shared.script, shared.asked[:] = ["normal"], []
    return shared


def spec(kind: str, url: str, **changes: Any) -> ProviderSpec:
    wire = WIRES[kind]
    base = {} if kind == "local" else {"base_url": url + wire.base}
    return ProviderSpec.model_validate(provider_entry(kind=kind, name="p", **{**wire.entry, **base, **changes}))


def provider(kind: str, url: str, **changes: Any) -> ChatProvider:
    return connect(ProviderContext(spec(kind, url, **changes), local_url=url))


collect = partial(clients.collect, messages=MESSAGES, parameters=PARAMETERS)


def answer(kind: str, server: Upstream, script: str = "normal") -> list[Delta]:
    fresh_clients()
    server.script = [script]
    return asyncio.run(collect(provider(kind, server.url)))


def failure(kind: str, server: Upstream, script: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        answer(kind, server, script)
    return caught.value


kinds = pytest.mark.parametrize("kind", WIRES)


def test_every_kind_of_the_engine_has_its_wire() -> None:
    ours = {name for name, kind in PROVIDERS.items() if kind.connect.__module__.startswith("sluice.")}
    assert set(WIRES) == ours <= set(CHECKS)


@kinds
def test_pieces_add_up_and_the_last_one_has_reason_and_usage(kind: str, server: Upstream) -> None:
    *pieces, last = answer(kind, server)
    assert "".join(piece.text for piece in pieces) == TEXT
    assert all(piece.text and piece.finish_reason is None for piece in pieces)
    assert last == Delta(finish_reason="stop", usage=Usage(*USAGE))


@kinds
def test_what_the_server_is_asked(kind: str, server: Upstream) -> None:
    answer(kind, server)
    (asked,) = server.asked
    assert asked.raw_path == WIRES[kind].path
    sent = asked.json
    CHECKS[kind](asked, sent)


def _openai(asked: Asked, sent: Any, *, longest: str = "max_tokens", key: str | None = KEY) -> None:
    assert sent["messages"] == MESSAGES
    assert (sent["temperature"], sent[longest], sent["top_p"], sent["seed"], sent["stop"]) == (0.5, 7, 0.9, 3, ["END"])
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert asked.headers.get("authorization") == (f"Bearer {key}" if key else None)


def _anthropic(asked: Asked, sent: Any) -> None:
    assert sent["messages"] == MESSAGES[1:]
    assert sent["system"] == "Be brief."
    assert (sent["temperature"], sent["max_tokens"], sent["top_p"], sent["stop_sequences"]) == (0.5, 7, 0.9, ["END"])
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def _signed(asked: Asked, service: str) -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    found = re.fullmatch(
        rf"AWS4-HMAC-SHA256 Credential={KEY}/\d{{8}}/eu-west-1/{service}/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        asked.headers["authorization"],
    )
    assert found, asked.headers["authorization"]
    headers = asked.headers
    kept = {name: headers[name] for name in found[1].split(";")}
    assert "host" in kept
    request = AWSRequest("POST", f"http://{headers['host']}{asked.raw_path}", headers=kept, data=asked.body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(KEY, KEY), service, "eu-west-1")
    assert auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request) == found[2]


def _bedrock(asked: Asked, sent: Any) -> None:
    assert sent["messages"] == [{"role": "user", "content": [{"text": "How müch?"}]}]
    assert sent["system"] == [{"text": "Be brief."}]
    assert sent["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 7, "topP": 0.9, "stopSequences": ["END"]}
    _signed(asked, "bedrock")


def _sagemaker(asked: Asked, sent: Any) -> None:
    assert (sent["messages"], sent["max_tokens"], sent["seed"]) == (MESSAGES, 7, 3)
    _signed(asked, "sagemaker")


CHECKS: dict[str, Any] = {
    "local": lambda asked, sent: _openai(asked, sent, key=None),
    "openai_compatible": _openai,
    "vllm": _openai,
    "openai": lambda asked, sent: _openai(asked, sent, longest="max_completion_tokens"),
    "anthropic": _anthropic,
    "bedrock": _bedrock,
    "sagemaker": _sagemaker,
    "langchain": lambda asked, sent: _openai(asked, sent, longest="max_completion_tokens"),
}


WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [{"type": "function", "function": WEATHER}]
NAMED = {"type": "function", "function": {"name": "weather"}}
CALLED = [
    {"id": name_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    for name_id, name, arguments in CALLS
]
# A conversation in which the model has called two tools at once.
RESULTS = [
    *MESSAGES,
    {"role": "assistant", "content": "", "tool_calls": CALLED},
    *({"role": "tool", "tool_call_id": name_id, "content": f"Rain {name_id}."} for name_id, _, _ in CALLS),
]


def tool_parameters(choice: Any = "auto") -> ToolParameters:
    return ToolParameters.model_validate({"maxTokens": 7, "tools": TOOLS, "tool_choice": choice})


def asked_with_tools(kind: str, server: Upstream, choice: Any = "auto", **changes: Any) -> tuple[list[Delta], Any]:
    fresh_clients()
    server.script = ["calls"]
    chat = provider(kind, server.url, **changes)
    deltas = asyncio.run(collect(chat, messages=RESULTS, parameters=tool_parameters(choice)))
    return deltas, server.asked[-1].json


@kinds
def test_calls_of_tools_come_in_pieces_that_langchain_adds_up(kind: str, server: Upstream) -> None:
    from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks

    (*pieces, last), _ = asked_with_tools(kind, server)
    chunks = [AIMessageChunk(piece.text, tool_call_chunks=list(piece.tool_calls)) for piece in pieces]
    found = add_ai_message_chunks(chunks[0], *chunks[1:]).tool_calls
    assert [(call["id"], call["name"], call["args"]) for call in found] == [
        (name_id, name, json.loads(arguments)) for name_id, name, arguments in CALLS
    ]
    assert last == Delta(finish_reason="tool_calls", usage=Usage(*USAGE))


def _openai_tools(sent: Any, choice: Any) -> None:
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolChoiceOptionParam
    from openai.types.chat import ChatCompletionToolUnionParam as Tool
    from pydantic import TypeAdapter

    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(sent["messages"])
    TypeAdapter(list[Tool]).validate_python(sent["tools"])
    TypeAdapter(ChatCompletionToolChoiceOptionParam).validate_python(sent["tool_choice"])
    called = [*RESULTS[:2], {**RESULTS[2], "content": sent["messages"][2]["content"] or ""}, *RESULTS[3:]]
    assert json.loads(json.dumps(sent["messages"]).replace("null", '""')) == called
    assert (sent["tools"], sent["tool_choice"]) == (TOOLS, choice)


def _anthropic_tools(sent: Any, choice: Any) -> None:
    from anthropic.types import MessageParam, ToolParam
    from pydantic import TypeAdapter

    TypeAdapter(list[MessageParam]).validate_python(sent["messages"])
    TypeAdapter(list[ToolParam]).validate_python(sent["tools"])
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    uses, results = sent["messages"][1]["content"], sent["messages"][2]["content"]
    assert [(use["id"], use["input"]) for use in uses] == [(one[0], json.loads(one[2])) for one in CALLS]
    assert [result["tool_use_id"] for result in results] == ["c1", "c2"]
    assert sent["tools"][0]["input_schema"] == WEATHER["parameters"]
    kinds = {"auto": {"type": "auto"}, "required": {"type": "any"}}
    assert sent["tool_choice"] == kinds.get(str(choice), {"type": "tool", "name": "weather"})


def _bedrock_tools(sent: Any, choice: Any) -> None:
    """botocore has held the request to its own model of the API before it was sent."""
    uses = [{"toolUse": {"toolUseId": one[0], "name": one[1], "input": json.loads(one[2])}} for one in CALLS]
    results = [{"toolResult": {"toolUseId": one[0], "content": [{"text": f"Rain {one[0]}."}]}} for one in CALLS]
    assert sent["messages"][1:] == [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    spec = {**WEATHER, "inputSchema": {"json": WEATHER["parameters"]}}
    del spec["parameters"]
    choices = {"auto": {"auto": {}}, "required": {"any": {}}}
    chosen = choices.get(str(choice), {"tool": {"name": "weather"}})
    assert sent["toolConfig"] == {"tools": [{"toolSpec": spec}], "toolChoice": chosen}


TOOL_CHECKS = {"anthropic": _anthropic_tools, "bedrock": _bedrock_tools}


@kinds
def test_what_the_server_is_told_of_tools(kind: str, server: Upstream) -> None:
    for choice in ("auto", "required", NAMED):
        _, sent = asked_with_tools(kind, server, choice)
        TOOL_CHECKS.get(kind, _openai_tools)(sent, choice)


def test_a_local_model_without_tools_refuses_and_falls_back_to_none(
    server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.llm.providers.openai_compatible.hooks", lambda _: {})
    server.template_takes_tools = False
    try:
        with pytest.raises(ProviderError, match="chat template of the local model has no place for tools") as caught:
            asked_with_tools("local", server)
    finally:
        server.template_takes_tools = True
    assert caught.value.failure is FailureKind.REFUSED
    assert server.asked == [], "the model was asked without its tools"


# Broken in the middle: clients tell these apart differently, and all are tried again.
_BROKEN = {FailureKind.UNREACHABLE, FailureKind.GARBAGE, FailureKind.SERVER_ERROR}
FAILURES = {
    "status:500": {FailureKind.SERVER_ERROR},
    "status:401": {FailureKind.FORBIDDEN},
    "status:404": {FailureKind.NOT_FOUND},
    "status:400": {FailureKind.REFUSED},
    "busy:7": {FailureKind.RATE_LIMITED},
    "reset": {FailureKind.UNREACHABLE},
    "error": {FailureKind.SERVER_ERROR},
    "garbage": {FailureKind.GARBAGE},
    "cut": _BROKEN,
    "late_error": _BROKEN,
}


@kinds
def test_what_goes_wrong_has_its_name(kind: str, server: Upstream) -> None:
    for script, expected in FAILURES.items():
        error = failure(kind, server, script)
        assert error.failure in expected, script
        assert script != "busy:7" or error.retry_after == 7
        assert "secret" not in str(error), "an error must not quote what the server said: it may hold the question"
    fresh_clients()
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(provider(kind, f"http://127.0.0.1:{free_port()}")))
    assert caught.value.failure is FailureKind.UNREACHABLE


@kinds
def test_the_deadline_holds(kind: str, server: Upstream) -> None:
    server.script = ["hang_in_stream"]
    with pytest.raises(ProviderError) as caught:
        run(collect(provider(kind, server.url), seconds=0.5), held=unasked(server))
    assert caught.value.failure is FailureKind.DEADLINE
    assert server.asked[-1].gone.wait(60)


@kinds
@pytest.mark.parametrize(("script", "way"), [("hang", "cancel"), ("hang_in_stream", "close")])
def test_a_caller_who_goes_closes_the_connection(kind: str, script: str, way: str, server: Upstream) -> None:
    async def leave() -> None:
        chat = provider(kind, server.url)
        await collect(chat)
        server.script = [script]
        deadline = asyncio.get_running_loop().time() + 3600
        stream = chat.stream(MESSAGES, PARAMETERS, deadline=deadline)
        async with aclosing(stream):
            if way == "close":
                await anext(stream)
            else:
                reading = asyncio.create_task(_drain(stream))
                while len(server.asked) < 2 or not server.asked[-1].begun.is_set():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        assert await asyncio.to_thread(server.asked[-1].gone.wait, 60)

    asyncio.run(leave())


async def _drain(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("kind", ["openai_compatible", "langchain"])
def test_a_key_that_is_missing_is_named_at_the_start(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(SluiceError, match=r"config/providers\.yaml: p: the variable TEST_KEY is not set"):
        provider(kind, "http://127.0.0.1:1")


def test_a_package_that_is_missing_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_anthropic", None)
    with pytest.raises(SluiceError, match="needs a package that is not installed") as caught:
        provider("anthropic", "http://127.0.0.1:1")
    assert caught.value.remedy.startswith("install engine/requirements/serve.txt")


def test_parameters_that_a_model_does_not_take_are_left_out(server: Upstream) -> None:
    chat = provider("openai", server.url, omit=["temperature", "seed"], options={"reasoning_effort": "low"})
    asyncio.run(collect(chat))
    sent = server.asked[0].json
    assert "temperature" not in sent
    assert "seed" not in sent
    assert sent["reasoning_effort"] == "low"
