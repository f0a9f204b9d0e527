"""Events in OpenAI's format; calls of tools by OpenAI's library and a real llama.cpp."""

import json

import pytest
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from openai.types.chat import ChatCompletionChunk

from sluice.llm.chat import Delta, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.providers.openai_compatible import OpenAIEvents
from support.providers.server import CALLS, TEXT, openai_blocks, sse

STREAM = b"".join(openai_blocks())
CALL_WITHOUT_INDEX = sse({"choices": [{"delta": {"tool_calls": [{}]}}]})


@pytest.mark.parametrize("size", [1, 64])
def test_the_text_is_the_same_however_the_bytes_are_cut(size: int) -> None:
    events = OpenAIEvents()
    found = [events.feed(STREAM[start : start + size]) for start in range(0, len(STREAM), size)]
    assert "".join(delta.text for delta in found if delta) == TEXT
    assert events.done
    assert events.last() == Delta(finish_reason="stop", usage=Usage(11, 3))


def test_comments_names_and_carriage_returns_are_no_matter() -> None:
    other = b": ping\r\n\r\nevent: x\r\nid: 1\r\n" + STREAM.replace(b"\n", b"\r\n").replace(b"data: ", b"data:")
    assert OpenAIEvents().feed(other) == Delta(TEXT)


@pytest.mark.parametrize(
    "line", [b"data: {", b"data: []\n", b'data: {"choices": 3}\n', b"data: \xff\n", CALL_WITHOUT_INDEX]
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


def added_up(deltas: list[Delta]) -> AIMessageChunk:
    chunks = [AIMessageChunk(delta.text, tool_call_chunks=list(delta.tool_calls)) for delta in deltas]
    return add_ai_message_chunks(chunks[0], *chunks[1:])


def test_the_double_s_events_are_those_of_openai_s_library() -> None:
    for block in BLOCKS[:-1]:
        ChatCompletionChunk.model_validate_json(block.removeprefix(b"data: "), strict=True)


@pytest.mark.parametrize("size", [1, 64])
def test_calls_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    events, stream = OpenAIEvents(), b"".join(BLOCKS)
    found = [events.feed(stream[start : start + size]) for start in range(0, len(stream), size)]
    calls = added_up([delta for delta in found if delta]).tool_calls
    assert [call["args"] for call in calls] == [json.loads(arguments) for _, _, arguments in CALLS]
    assert [(call["id"], call["name"]) for call in calls] == [("c1", "weather"), ("c2", "weather")]
    assert events.last().finish_reason == "tool_calls"
