import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sluice.extras.clients.local_form import grammar, held, limited
from sluice.llm.chat import Delta, Messages, ShapeParameters, ToolParameters
from sluice.llm.llama_server import LocalServer
from sluice.prompts import ModelParameters
from support.forms import SCHEMAS, fault, random_model
from unit.extras.clients.scripts import WEATHER

TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}


@pytest.mark.parametrize("brief", [False, True])
def test_what_has_no_end_gets_one_and_what_has_a_limit_keeps_it(brief: bool) -> None:
    place = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}, "b": {"type": "array"}}}
    made = limited({**place, "required": ["a", "c"]}, brief=brief)
    assert (made["properties"]["a"]["maxLength"], made["additionalProperties"]) == (5, False)
    assert {*made["properties"]} == ({"a", "c"} if brief else {"a", "b", "c"}), "in brief, what is required"
    assert brief or made["properties"]["b"]["maxItems"] == 8
    assert limited({"type": "object"}, brief=brief)["maxProperties"] == (1 if brief else 8)
    assert limited({"type": "string", "format": "uuid"}, brief=brief)["maxLength"] >= 36, "else nothing would follow it"
    for schema in SCHEMAS:
        Draft202012Validator.check_schema(limited(schema, brief=brief))


def told(parameters: ModelParameters, *texts: str, finish: str = "stop") -> tuple[list[Delta], list[Any]]:
    asked: list[Any] = []

    async def model(messages: Messages, given: ModelParameters, *, deadline: float) -> AsyncGenerator[Delta, None]:
        asked.extend([messages, given, deadline])
        for text in texts:
            yield Delta(text)
        yield Delta(finish_reason=finish)  # type: ignore[arg-type]

    async def answer() -> list[Delta]:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rain?"}]
        return [delta async for delta in held(model, messages, parameters, deadline=1.0)]  # type: ignore[arg-type]

    return asyncio.run(answer()), asked


def test_a_call_in_words_is_a_call() -> None:
    parameters = ToolParameters.model_validate({"tools": [TOOL]})
    deltas, (messages, given, _) = told(parameters, "<tool", '_call>{"name": "weather", ', '"arguments": {"city":"R"}}')
    assert [call["name"] for delta in deltas for call in delta.tool_calls] == ["weather"]
    assert [call["args"] for delta in deltas for call in delta.tool_calls] == ['{"city": "R"}']
    assert deltas[-1].finish_reason == "tool_calls"
    assert messages[0]["content"].startswith("Be brief.")
    assert '"name": "weather"' in messages[0]["content"]
    assert given.grammar.startswith("%llguidance {}\nstart: call_0 | answer\n")


def test_words_are_words_and_come_as_they_are_said() -> None:
    deltas, _ = told(ToolParameters.model_validate({"tools": [TOOL]}), "It ", "rains.")
    assert [delta.text for delta in deltas] == ["It ", "rains.", ""]
    assert deltas[-1].finish_reason == "stop"


def test_a_call_that_was_cut_off_is_no_call_of_a_tool() -> None:
    deltas, _ = told(ToolParameters.model_validate({"tools": [TOOL]}), '<tool_call>{"name": "wea', finish="length")
    assert [call["name"] for delta in deltas for call in delta.tool_calls] == [""]
    assert deltas[-1].finish_reason == "length"


def test_a_form_alone_is_not_told_of_tools() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": WEATHER}}
    _, (messages, given, _) = told(ShapeParameters.model_validate({"response_format": form}), "{}")
    assert messages[0]["content"] == "Be brief."
    assert given.grammar.splitlines()[1] == "start: answer"


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_whatever_the_schema_the_answer_validates(models: Any, tmp_path: Path) -> None:
    with LocalServer(random_model(models.chat, tmp_path / "random.gguf"), threads=1, context=2048, slots=1) as server:
        for number, schema in enumerate(SCHEMAS * 2):
            assert fault(server, schema, call=bool(number % 2), seed=number) == "", schema


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_words_beside_tools_end_where_the_model_ends_them(models: Any) -> None:
    words = {"messages": [{"role": "user", "content": "What is 2 + 2? Say the number."}], "temperature": 0}
    offered = ToolParameters.model_validate({"tools": [TOOL]})
    with LocalServer(models.chat, threads=1, context=2048, slots=1) as server:
        free, held_to = (
            server.answer({**words, "max_tokens": 100, **more}) for more in ({}, {"grammar": grammar(offered)})
        )
    assert free["choices"][0]["finish_reason"] == "stop"
    assert held_to["choices"] == free["choices"]
