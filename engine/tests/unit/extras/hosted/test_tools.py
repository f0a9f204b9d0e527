"""Requests of an application with tools: carried whole, priced whole, and no way around what is held to account."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.evaluation.recorded_chat import response_key
from sluice.extras.hosted.answer_requests import key_forms
from sluice.extras.hosted.request_file import ProviderRequest
from support.actions_api import ActionsApi
from unit.extras.hosted.conftest import KEY, PARAMETERS, Main, everything, lines
from unit.extras.hosted.steps import Steps, steps_of

# The order of its keys is one that no sorting makes: a model may answer to it.
SCHEMA = {"type": "object", "properties": {"unit": {"$ref": "#/$defs/unit"}, "city": {"type": "string"}},
          "required": ["city"], "$defs": {"unit": {"enum": ["°C", "°F"]}}}  # fmt: skip
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": SCHEMA}}
CALL = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": '{"city": "Rīga"}'}}
TALK = [
    {"role": "user", "content": "Is it warm?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "21 °C", "tool_call_id": "c1"},
]


def tooled(main: Main, messages: list[dict[str, Any]] = TALK, **changes: Any) -> dict[str, Any]:
    """A request with tools under its right digest, whatever the tools are."""
    parameters = {**PARAMETERS, "tools": [WEATHER], "tool_choice": "auto", **changes}
    asked: Any = SimpleNamespace(model_dump=lambda mode: parameters)  # noqa: ARG005 - as of a model that takes anything
    try:
        digest = response_key(main.spec, messages, asked, 0)
    except ValueError:  # infinity has no digest
        digest = "0" * 64
    made = {"version": 1, "provider": "primary", "trial": 0, "parameters": parameters, "messages": messages}
    return {**made, "digest": digest}


def tool(**changes: Any) -> dict[str, Any]:
    return {"type": "function", "function": {**WEATHER["function"], **changes}}  # type: ignore[dict-item]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def talk(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**message, **change} for message, change in zip(TALK, [*changes, {}, {}, {}], strict=False)]


CHANNELS: dict[str, Callable[[Main], dict[str, Any]]] = {
    "a search of the vendor": lambda main: tooled(main, tools=[{"type": "web_search"}]),
    "a server of tools": lambda main: tooled(
        main, tools=[{"type": "mcp", "server_url": "https://example.org", "headers": {"x": "${MODEL_KEY}"}}]
    ),
    "an address in a tool": lambda main: tooled(main, tools=[{**WEATHER, "server_url": "https://example.org"}]),
    "headers in a function": lambda main: tooled(main, tools=[tool(headers={"authorization": "Bearer"})]),
    "a name with a line end": lambda main: tooled(main, tools=[tool(name="weather\nhost: elsewhere")]),
    "a path as name": lambda main: tooled(main, tools=[tool(name="../weather")]),
    "a name that looks the same": lambda main: tooled(main, tools=[tool(name="wеather")]),
    "a schema at an address": lambda main: tooled(main, tools=[tool(parameters={"$ref": "http://169.254.169.254/"})]),
    "a schema that is a file": lambda main: tooled(
        main, tools=[tool(parameters={"allOf": [{"items": {"$dynamicRef": "file:///proc/self/environ"}}]})]
    ),
    "too many tools": lambda main: tooled(main, tools=[WEATHER] * 129),
    "no tools": lambda main: tooled(main, tools=[]),
    "a schema beyond the limit": lambda main: tooled(main, tools=[tool(parameters={"title": "a" * 70_000})]),
    "many tools beyond the limit": lambda main: tooled(main, tools=[tool(description="a" * 1000)] * 100),
    "a deep schema": lambda main: tooled(main, tools=[tool(parameters=nested(400))]),
    "half a character in a schema": lambda main: tooled(main, tools=[WEATHER]) | {
        "parameters": {**PARAMETERS, "tool_choice": "auto", "tools": [tool(parameters={"title": "\ud800"})]}
    },
    "infinity in a schema": lambda main: tooled(main, tools=[tool(parameters={"default": float("inf")})]),
    "a choice of another kind": lambda main: tooled(main, tool_choice={"type": "mcp", "server_label": "x"}),
    "a choice with more in it": lambda main: tooled(
        main, tool_choice={"type": "function", "function": {"name": "weather", "key": "MODEL_KEY"}}
    ),
    "tools beside a grammar": lambda main: tooled(main, grammar="root ::= [a-z]+"),
    "a call by the user": lambda main: tooled(main, talk({"tool_calls": [CALL]})),
    "a call of another kind": lambda main: tooled(main, talk({}, {"tool_calls": [{**CALL, "type": "custom"}]})),
    "a call with an address": lambda main: tooled(main, talk({}, {"tool_calls": [{**CALL, "url": "http://a"}]})),
    "a result of the user": lambda main: tooled(main, talk({"tool_call_id": "c1"})),
    "a result of no call": lambda main: tooled(main, [{"role": "tool", "content": "21"}]),
    "a result as long as a book": lambda main: tooled(main, talk({}, {}, {"content": "a" * 70_000})),
    "arguments as long as a book": lambda main: tooled(
        main, talk({}, {"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": "a" * 70_000}}]})
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANNELS)
def test_tools_are_no_channel(main: Main, name: str) -> None:
    file = main.workspace.root.parent / "requests.jsonl"
    written = lines(CHANNELS[name](main)).replace(b"Infinity", b"1e999")  # which JSON reads as infinity
    file.write_bytes(written)
    done = main.sluice("answers", "ask", str(file))
    assert done.code == 1, done.text
    assert done.text.startswith("error: requests.jsonl: line 1: "), done.text
    assert "digest" not in done.text, "its digest is right: something else refuses it"
    assert main.model.asked == []
    seen = done.text.lower().encode() + everything(main.workspace.root).lower()
    assert [form for form in key_forms(KEY) if form.encode() in seen] == []


@pytest.mark.parametrize("change", [{"tools": [tool(description="of a village.")]}, {"tool_choice": "required"}])
def test_other_tools_than_those_of_the_digest_are_refused(main: Main, change: dict[str, Any]) -> None:
    file = main.workspace.root.parent / "requests.jsonl"
    file.write_bytes(lines(tooled(main, **change) | {"digest": tooled(main)["digest"]}))
    done = main.sluice("answers", "ask", str(file))
    assert (done.code, "another digest" in done.text) == (1, True)
    assert main.model.asked == []


@pytest.fixture
def steps(main: Main, github: ActionsApi, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return steps_of(main, github, monkeypatch)


def test_tools_and_their_results_are_sent_as_they_are_and_calls_come_back(main: Main, steps: Steps) -> None:
    main.model.script = ["calls"]
    request = tooled(main)
    steps.waits(lines(request))
    assert steps.run() == "ask"
    (asked,) = main.model.asked
    assert json.dumps([asked.json["messages"], asked.json["tools"]]) == json.dumps([TALK, [WEATHER]])
    (answer,) = main.answers
    assert [call["name"] for call in answer["value"]["tool_calls"] if call["name"]] == ["weather", "weather"]
    assert answer["value"]["finish_reason"] == "tool_calls"
    assert steps.bring() == (0, "1 responses of answer-requests\n")


@pytest.mark.parametrize("named", ["auto", "required", {"type": "function", "function": {"name": "weather"}}])
def test_a_choice_is_sent_as_it_is(main: Main, tmp_path: Path, named: Any) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(lines(tooled(main, tool_choice=named)))
    assert main.sluice("answers", "ask", str(file)).code == 0
    assert main.model.asked[0].json["tool_choice"] == named


def test_tools_and_calls_count_as_tokens(main: Main) -> None:
    """As many as their bytes in the widest form, so that a vendor's own form of them has fewer."""
    without = ProviderRequest.model_validate(main.request())
    talk_only = sum(len(message["content"].encode()) + 16 for message in TALK)
    request = ProviderRequest.model_validate(tooled(main))
    assert request.size - talk_only > len(json.dumps(WEATHER, indent=4)) + len(json.dumps(CALL, indent=4)) + 804
    assert without.size < 100


NUMBERED = "".join(f"\\u{ord(letter):04x}" for letter in KEY)


@pytest.mark.parametrize("form", [*key_forms(KEY), NUMBERED])
def test_a_call_that_holds_the_key_is_dropped(main: Main, tmp_path: Path, form: str) -> None:
    main.model.reply = lambda _: [("c1", "weather", f'{{"city": "{form}"}}')]
    file = tmp_path / "requests.jsonl"
    file.write_bytes(lines(tooled(main)))
    done = main.sluice("answers", "ask", str(file))
    assert (done.code, main.answers) == (0, [])
    assert "1 without an answer" in done.text
    seen = done.text.lower().encode() + everything(main.workspace.root).lower()
    assert [one for one in (*key_forms(KEY), NUMBERED) if one.encode() in seen] == []
