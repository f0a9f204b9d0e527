"""Clients that people use, unchanged: OpenAI's library for Python, LangChain, instructor."""

import json
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from support.libraries import Library
from support.serving.process import Service
from unit.extras.clients.scripts import WEATHER

pytestmark = [pytest.mark.usefixtures("loopback"), pytest.mark.timeout(1800)]

openai, langchain_openai = Library("openai"), Library("langchain_openai")
ASK: Any = [{"role": "user", "content": "How much overlap do chunks have?"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": WEATHER}}


class Overlap(BaseModel):
    """How much neighbouring chunks share."""

    answer: str
    tokens: int


@pytest.fixture
def client(service: Service, secret: str) -> Any:
    http_client = httpx.Client(trust_env=False, timeout=240)
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=secret, max_retries=0, http_client=http_client)


@pytest.fixture
def chat(service: Service, secret: str) -> Any:
    http_client = httpx.Client(trust_env=False, timeout=240)
    return langchain_openai.ChatOpenAI(
        model="sluice", base_url=f"{service.url}/v1", api_key=secret, max_retries=0, http_client=http_client
    )


def is_scripted(service: Service, request: pytest.FixtureRequest) -> bool:
    return service is request.getfixturevalue("scripted")


def test_openai_calls_a_tool_and_hears_its_result(client: Any) -> None:
    forced = {"type": "function", "function": {"name": "weather"}}
    first = client.chat.completions.create(model="sluice", messages=ASK, tools=[TOOL], tool_choice=forced)
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls"
    (called,) = choice.message.tool_calls
    assert called.function.name == "weather"
    assert isinstance(json.loads(called.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": called.id, "content": "rain"}
    told = [*ASK, choice.message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(model="sluice", messages=told, tools=[TOOL], tool_choice="none")
    assert second.choices[0].message.content
    assert second.choices[0].finish_reason in ("stop", "length")


def test_openai_streams_a_call(client: Any) -> None:
    with client.chat.completions.stream(
        model="sluice", messages=ASK, tools=[TOOL], tool_choice="required", stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type for event in stream]
        found = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    (called,) = found.choices[0].message.tool_calls
    assert isinstance(json.loads(called.function.arguments)["city"], str)
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_openai_parses_a_form_whole_and_streamed(client: Any, service: Service, request: pytest.FixtureRequest) -> None:
    whole = client.chat.completions.parse(model="sluice", messages=ASK, response_format=Overlap)
    with client.chat.completions.stream(model="sluice", messages=ASK, response_format=Overlap) as stream:
        streamed = stream.get_final_completion()
    for found in (whole, streamed):
        parsed = found.choices[0].message.parsed
        assert isinstance(parsed, Overlap)
        if is_scripted(service, request):
            assert parsed == Overlap(answer="64 tokens", tokens=64)
            assert found.model_extra["citations" if found is whole else "release"]


def test_openai_asks_for_responses(client: Any, service: Service, request: pytest.FixtureRequest) -> None:
    words = client.responses.create(model="sluice", input="How much overlap do chunks have?")
    assert words.status in ("completed", "incomplete")
    assert words.output_text
    assert words.usage.total_tokens == words.usage.input_tokens + words.usage.output_tokens
    if is_scripted(service, request):
        assert words.output_text == "64 tokens"
        assert words.usage.input_tokens_details.cached_tokens == 8
    parsed = client.responses.parse(model="sluice", input=ASK, text_format=Overlap)
    assert isinstance(parsed.output_parsed, Overlap)
    tool = {"type": "function", "strict": True, **TOOL["function"]}
    called = client.responses.create(model="sluice", input=ASK, tools=[tool], tool_choice="required")
    (item,) = called.output
    assert (item.type, item.name) == ("function_call", "weather")
    result = {"type": "function_call_output", "call_id": item.call_id, "output": "rain"}
    told = client.responses.create(
        model="sluice", input=[*ASK, *called.output, result], tools=[tool], tool_choice="none"
    )
    assert told.output_text


def test_openai_streams_responses(client: Any) -> None:
    tool = {"type": "function", "strict": True, **TOOL["function"]}
    for options in ({}, {"tools": [tool], "tool_choice": "required"}, {"text_format": Overlap}):
        with client.responses.stream(model="sluice", input=ASK, **options) as stream:
            events = list(stream)
        found = events[-1].response
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created"
        assert events[-1].type in ("response.completed", "response.incomplete")
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(deltas) == found.output_text
        assert (found.output[0].type == "function_call") == ("tools" in options)
        assert "text_format" not in options or isinstance(found.output_parsed, Overlap)


def test_langchain_binds_tools_and_gets_structure(chat: Any) -> None:
    called = chat.bind_tools([TOOL], tool_choice="weather").invoke(ASK)
    (found,) = called.tool_calls
    assert (found["name"], set(found["args"])) == ("weather", {"city"})
    for method in ("json_schema", "function_calling"):
        assert isinstance(chat.with_structured_output(Overlap, method=method).invoke(ASK), Overlap)
    streamed = list(chat.bind_tools([TOOL], tool_choice="required").stream(ASK))
    assert sum(len(piece.tool_call_chunks) for piece in streamed) == 1


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_instructor_fills_a_model(client: Any, mode: str) -> None:
    instructor = pytest.importorskip("instructor")
    filled = instructor.from_openai(client, mode=getattr(instructor.Mode, mode))
    found = filled.chat.completions.create(model="sluice", messages=ASK, response_model=Overlap, max_retries=0)
    assert isinstance(found, Overlap)
