"""Hostile files of requests: none is asked for, and none learns anything of the key."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.evaluation.replay import response_key
from sluice.extras.hosted.answer_requests import key_forms
from sluice.extras.hosted.request_file import ProviderRequest
from unit.extras.hosted.conftest import KEY, PARAMETERS, Main, Outcome, Steps, everything, lines

ROOT = Path(__file__).resolve().parents[5]
Bytes = Callable[[Main], bytes]


def request(**changes: Any) -> Bytes:
    """A request with other values under the digest of what it was."""
    return lambda main: lines(main.request(digest=main.request()["digest"], **changes))


def parameters(**changes: Any) -> Bytes:
    return request(parameters=PARAMETERS | changes)


def text(replace: str, by: str) -> Bytes:
    """A good line, edited as text."""

    def edited(main: Main) -> bytes:
        written = lines(main.request()).decode()
        assert replace in written
        return written.replace(replace, by).encode("utf-8", "surrogatepass")

    return edited


FILES: dict[str, Bytes] = {
    # another model, another address
    "another provider": request(provider="local"),
    "an address": request(base_url="http://169.254.169.254/latest"),
    "options among the parameters": parameters(extra_headers={"x": "${MODEL_KEY}"}),
    # paths
    "a path as provider": request(provider="../../etc/passwd"),
    "a provider with a line end": request(provider="primary\n"),
    "a path as digest": lambda main: lines(main.request(digest="../../../.ssh/id")),
    # forged digests
    "the digest of another question": lambda main: lines(main.request("a", digest=main.request("b")["digest"])),
    "a digest twice": lambda main: lines(main.request(), main.request()),
    "a good line before a forged one": lambda main: lines(main.request(), main.request("b", digest="1" * 64)),
    # unicode
    "half a character": text("What is", "\\ud800"),
    "bytes that are no text": lambda main: lines(main.request()).replace(b"What", b"\xff\xfe"),
    # size
    "a million rows": lambda _: b"{}\n" * 1_000_000,
    "a long line": lambda main: lines(main.request("a" * 2_000_000)),
    "messages beyond the limit": lambda main: lines(main.request("a" * 70_000)),
    "too many messages": request(messages=[{"role": "user", "content": "a"}] * 300),
    "a long answer": parameters(max_tokens=8192),
    "deep nesting": lambda _: b"[" * 50_000 + b"]" * 50_000 + b"\n",
    "a long number": text('"trial": 0', '"trial": ' + "9" * 6000),
    # not what the schema says
    "nothing": lambda _: b"",
    "a key twice": text('"trial": 0', '"trial": 0, "trial": 0'),
    "not a number": text('"temperature": 0.0', '"temperature": NaN'),
    "no messages": request(messages=[]),
    "content in parts": request(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
    "a grammar that nobody asked for": parameters(grammar="root ::= [a-z]+"),
}


def leaks(*texts: bytes) -> list[str]:
    return [form for form in (*key_forms(KEY), NUMBERED) if any(form.encode() in text.lower() for text in texts)]


def asked(main: Main, content: bytes) -> Outcome:
    file = main.workspace.root.parent / "requests.jsonl"
    file.write_bytes(content)
    return main.sluice("answers", "ask", str(file))


def test_the_same_file_is_asked_when_nothing_was_changed_in_it(main: Main) -> None:
    done = asked(main, lines(main.request()))
    assert done.code == 0, done.text
    assert [line["digest"] for line in main.answers] == [main.request()["digest"]]
    (sent,) = main.model.asked
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json["messages"] == main.request()["messages"]


WORDS = {
    "headers": "Authorization: Bearer ${MODEL_KEY}\r\nX-Forward: yes",
    "a template": "{{ secrets.PROVIDER_KEYS }} {{MODEL_KEY}} %(MODEL_KEY)s $MODEL_KEY",
    "commands of the runner": "\n::set-output name=state::ask\n::add-mask::a\n::debug::b",
}


FORMS = len(key_forms(KEY))


@pytest.mark.parametrize(
    ("name", "form"), [*((name, 0) for name in WORDS), *(("a template", number) for number in range(1, FORMS))]
)
def test_words_of_a_prompt_are_words_and_an_answer_that_holds_the_key_is_dropped(
    main: Main, name: str, form: int
) -> None:
    main.model.reply = lambda _: f"Here it is: {key_forms(KEY)[form]}."
    done = asked(main, lines(main.request(WORDS[name])))
    assert (done.code, main.answers) == (0, [])
    assert "1 without an answer" in done.text
    (sent,) = main.model.asked
    assert sent.json["messages"] == [{"role": "user", "content": WORDS[name]}]
    parameters = {"temperature", "max_tokens", "top_p", "seed"}
    assert {*sent.json} <= {"messages", "model", "stream", "stream_options", *parameters}
    assert leaks(done.text.encode(), everything(main.workspace.root)) == []


@pytest.mark.parametrize("word", ["status:401", "error", "cut"])
def test_a_provider_that_fails_tells_the_kind_alone(main: Main, word: str) -> None:
    main.model.script = [word]
    done = asked(main, lines(main.request("A question of its own")))
    assert done.code == 0
    assert "no answer: " in done.text
    assert "1 without an answer" in done.text
    for hidden in (KEY, "secret", "overloaded", "question"):
        assert hidden not in done.text


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
    given: Any = SimpleNamespace(model_dump=lambda mode: parameters)  # noqa: ARG005 - as of a model that takes anything
    try:
        digest = response_key(main.spec, messages, given, 0)
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
    "a name with a line end": lambda main: tooled(main, tools=[tool(name="weather\nhost: elsewhere")]),
    "a schema at an address": lambda main: tooled(main, tools=[tool(parameters={"$ref": "http://169.254.169.254/"})]),
    "a schema that is a file": lambda main: tooled(
        main, tools=[tool(parameters={"allOf": [{"items": {"$dynamicRef": "file:///proc/self/environ"}}]})]
    ),
    "too many tools": lambda main: tooled(main, tools=[WEATHER] * 129),
    "a schema beyond the limit": lambda main: tooled(main, tools=[tool(parameters={"title": "a" * 70_000})]),
    "a deep schema": lambda main: tooled(main, tools=[tool(parameters=nested(400))]),
    "half a character in a schema": lambda main: tooled(main, tools=[WEATHER]) | {
        "parameters": {**PARAMETERS, "tool_choice": "auto", "tools": [tool(parameters={"title": "\ud800"})]}
    },
    "infinity in a schema": lambda main: tooled(main, tools=[tool(parameters={"default": float("inf")})]),
    "tools beside a grammar": lambda main: tooled(main, grammar="root ::= [a-z]+"),
    "a call by the user": lambda main: tooled(main, talk({"tool_calls": [CALL]})),
    "a result of the user": lambda main: tooled(main, talk({"tool_call_id": "c1"})),
    "a result as long as a book": lambda main: tooled(main, talk({}, {}, {"content": "a" * 70_000})),
}  # fmt: skip


@pytest.mark.parametrize("name", [*FILES, *CHANNELS])
def test_a_hostile_file_is_refused_and_nothing_is_asked(main: Main, name: str) -> None:
    written = FILES[name](main) if name in FILES else lines(CHANNELS[name](main))
    written = written.replace(b"Infinity", b"1e999") if name in CHANNELS else written  # which JSON reads as infinity
    done = asked(main, written)
    assert done.code == 1, done.text
    assert done.text.startswith("error: requests.jsonl: "), done.text
    assert name not in CHANNELS or "digest" not in done.text, "its digest is right: something else refuses it"
    assert not (main.workspace.build / "answers").exists()
    assert leaks(done.text.encode(), everything(main.workspace.root)) == []
    assert main.model.asked == []


@pytest.mark.parametrize("name", ["an address", "a million rows", "a good line before a forged one"])
def test_a_refusal_is_all_that_a_pull_request_gets(main: Main, steps: Steps, name: str) -> None:
    steps.waits(FILES[name](main))
    sent = dict(steps.github.archives)
    assert steps.run() == "refused"
    code, brought = steps.bring()
    refusal = (main.workspace.state / "answers-refused").read_text()
    assert (code, refusal.startswith("requests.jsonl: ")) == (0, True)
    published = [raw for place, raw in steps.github.archives.items() if place not in sent]
    assert len(published) == 1, "the refusal: nothing was reserved, and nothing spent"
    assert leaks(*published, everything(main.workspace.root), (steps.told + brought + refusal).encode()) == []
    assert main.model.asked == []


def test_other_tools_than_those_of_the_digest_are_refused(main: Main) -> None:
    other = tooled(main, tools=[tool(description="of a village.")])
    done = asked(main, lines(other | {"digest": tooled(main)["digest"]}))
    assert (done.code, "another digest" in done.text) == (1, True)
    assert main.model.asked == []


def test_tools_and_their_results_are_sent_as_they_are_and_calls_come_back(main: Main, steps: Steps) -> None:
    main.model.script = ["calls"]
    request = tooled(main)
    steps.waits(lines(request))
    assert steps.run() == "ask"
    (sent,) = main.model.asked
    assert json.dumps([sent.json["messages"], sent.json["tools"]]) == json.dumps([TALK, [WEATHER]])
    (answer,) = main.answers
    assert [call["name"] for call in answer["value"]["tool_calls"] if call["name"]] == ["weather", "weather"]
    assert answer["value"]["finish_reason"] == "tool_calls"
    assert steps.bring() == (0, "1 responses of answer-requests\n")


def test_tools_and_calls_count_as_tokens(main: Main) -> None:
    """As many as their bytes in the widest form, so that a vendor's own form of them has fewer."""
    without = ProviderRequest.model_validate(main.request())
    talk_only = sum(len(message["content"].encode()) + 16 for message in TALK)
    request = ProviderRequest.model_validate(tooled(main))
    assert request.size - talk_only > len(json.dumps(WEATHER, indent=4)) + len(json.dumps(CALL, indent=4)) + 804
    assert without.size < 100


NUMBERED = "".join(f"\\u{ord(letter):04x}" for letter in KEY)


@pytest.mark.parametrize("form", [*key_forms(KEY), NUMBERED])
def test_a_call_that_holds_the_key_is_dropped(main: Main, form: str) -> None:
    main.model.reply = lambda _: [("c1", "weather", f'{{"city": "{form}"}}')]
    done = asked(main, lines(tooled(main)))
    assert (done.code, main.answers) == (0, [])
    assert "1 without an answer" in done.text
    assert leaks(done.text.encode(), everything(main.workspace.root)) == []
