"""Events in OpenAI's format; calls of tools by OpenAI's library and a real llama.cpp."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import xllamacpp
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from openai.types.chat import ChatCompletionChunk

from sluice.llm.chat import Delta, ToolParameters, Usage
from sluice.llm.llama_server import LocalServer
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers.openai_compatible import OpenAIEvents
from sluice.llm.resilience import open_chat
from sluice.llm.settings import ProviderSpec
from support.providers.clients import PATIENT
from support.providers.server import CALLS, TEXT, openai_blocks, sse
from support.serving.fakes import provider_entry

STREAM = b"".join(openai_blocks())


@pytest.mark.parametrize("size", [1, 64, 10_000])
def test_the_text_is_the_same_however_the_bytes_are_cut(size: int) -> None:
    events = OpenAIEvents()
    found = [events.feed(STREAM[start : start + size]) for start in range(0, len(STREAM), size)]
    assert "".join(delta.text for delta in found if delta) == TEXT
    assert events.done
    assert events.last() == Delta(finish_reason="stop", usage=Usage(11, 3))


def test_comments_names_and_carriage_returns_are_no_matter() -> None:
    other = b": ping\r\n\r\nevent: x\r\nid: 1\r\n" + STREAM.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")
    assert OpenAIEvents().feed(other) == Delta(TEXT)


def test_nothing_is_read_after_the_end() -> None:
    events = OpenAIEvents()
    assert events.feed(STREAM + b"data: {broken\n\n") == Delta(TEXT)


@pytest.mark.parametrize(
    "line", [b"data: {", b"data: []\n", b"data: 1\n", b'data: {"id": 1}\n', b'data: {"choices": 3}\n', b"data: \xff\n"]
)
def test_what_is_not_an_event_is_garbage(line: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        OpenAIEvents().feed(line + b"\n")
    assert caught.value.failure is FailureKind.GARBAGE


def test_a_line_without_an_end_is_garbage() -> None:
    with pytest.raises(ProviderError, match="an event that never ended"):
        OpenAIEvents().feed(b"data: " + b"x" * (1 << 21))


def test_an_end_without_a_reason_is_not_an_answer() -> None:
    events = OpenAIEvents()
    events.feed(b"".join(openai_blocks()[:3]))
    with pytest.raises(ProviderError, match="ended before the answer"):
        events.last()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"code": 429}, FailureKind.RATE_LIMITED),
        ({"code": 400}, FailureKind.REFUSED),
        ({"code": "overloaded"}, FailureKind.SERVER_ERROR),
        ("text", FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_in_the_stream_is_what_its_code_says(error: object, failure: FailureKind) -> None:
    with pytest.raises(ProviderError) as caught:
        OpenAIEvents().feed(sse({"error": error}))
    assert caught.value.failure is failure


def test_servers_that_leave_usage_out_or_repeat_it() -> None:
    plain = OpenAIEvents()
    plain.feed(sse({"choices": [{"delta": {"content": "x"}, "finish_reason": "length"}]}))
    assert plain.last() == Delta(finish_reason="length")
    repeating = OpenAIEvents()
    for tokens in (1, 2):
        usage = {"prompt_tokens": 5, "completion_tokens": tokens}
        repeating.feed(sse({"choices": [{"delta": {"content": None}, "finish_reason": "stop"}], "usage": usage}))
    assert repeating.last().usage == Usage(5, 2)


BLOCKS = openai_blocks((), finish="tool_calls", calls=CALLS)
WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Riga"]}}, "required": ["city"]},
}
# A template of ours for a model that has learnt no tools. A bias for <jupyter_code>, number 13 of its vocabulary, makes
# it begin a call, and one for <|im_end|> makes it end after that; llama.cpp's own grammar does the rest.
TEMPLATE = """
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {{- "You may call these functions:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif not message.tool_calls %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {{- '\n<jupyter_code>{"name": "' }}
            {{- tool_call.function.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.function.arguments | tojson }}
            {{- '}<jupyter_output>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
BIAS = {"options": {"logit_bias": [[13, 100], [2, 110]]}}


def added_up(deltas: list[Delta]) -> AIMessageChunk:
    chunks = [AIMessageChunk(delta.text, tool_call_chunks=list(delta.tool_calls)) for delta in deltas]
    return add_ai_message_chunks(chunks[0], *chunks[1:])


def test_the_double_s_events_are_those_of_openai_s_library() -> None:
    for block in BLOCKS[:-1]:
        ChatCompletionChunk.model_validate_json(block.removeprefix(b"data: "), strict=True)


@pytest.mark.parametrize("size", [1, 64, 10_000])
def test_calls_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    events, stream = OpenAIEvents(), b"".join(BLOCKS)
    found = [events.feed(stream[start : start + size]) for start in range(0, len(stream), size)]
    calls = added_up([delta for delta in found if delta]).tool_calls
    assert [call["args"] for call in calls] == [json.loads(arguments) for _, _, arguments in CALLS]
    assert [(call["id"], call["name"]) for call in calls] == [("c1", "weather"), ("c2", "weather")]
    assert events.last().finish_reason == "tool_calls"


def test_servers_that_send_a_call_whole_or_leave_parts_out() -> None:
    whole = {"index": 0, "id": "c", "type": "function", "function": {"name": "now", "arguments": None}}
    delta = OpenAIEvents().feed(sse({"choices": [{"delta": {"content": "One moment.", "tool_calls": [whole]}}]}))
    assert delta is not None
    assert delta.text == "One moment."
    (call,) = added_up([delta]).tool_calls
    assert (call["name"], call["args"]) == ("now", {})


def test_a_call_without_an_index_is_garbage() -> None:
    with pytest.raises(ProviderError) as caught:
        OpenAIEvents().feed(sse({"choices": [{"delta": {"tool_calls": [{"id": "c"}]}}]}))
    assert caught.value.failure is FailureKind.GARBAGE


def ask_local(model: Path, **changes: Any) -> list[Delta]:
    parameters = ToolParameters.model_validate(
        {"maxTokens": 60, "tools": [{"type": "function", "function": WEATHER}], "tool_choice": "required"}
    )
    with LocalServer(model, threads=1) as server:
        spec = ProviderSpec.model_validate(provider_entry(timeouts=PATIENT, **changes))
        chat = open_chat([spec], local_url=server.base_url)

        async def answer() -> list[Delta]:
            deadline = asyncio.get_running_loop().time() + 600
            messages = [{"role": "user", "content": "How is the weather in Riga?"}]
            return [delta async for delta in chat.stream(messages, parameters, deadline=deadline)]

        return asyncio.run(answer())


@pytest.mark.real
def test_a_real_llama_cpp_calls_a_tool(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = xllamacpp.Server

    def with_template(params: Any) -> Any:
        params.chat_template = TEMPLATE
        return serve(params)

    monkeypatch.setattr(xllamacpp, "Server", with_template)
    *pieces, last = ask_local(models.chat, **BIAS)
    assert len(pieces) > 1
    (call,) = added_up(pieces).tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Riga"})
    assert last.finish_reason == "tool_calls"


@pytest.mark.real
def test_a_model_whose_template_takes_no_tools_is_refused_without_the_extra(
    models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.llm.providers.openai_compatible.hooks", lambda _: {})
    with pytest.raises(ProviderError, match="local: the chat template of the local model has no place for tools"):
        ask_local(models.chat)
