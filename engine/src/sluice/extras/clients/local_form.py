"""Holds a local model to tools and forms by a grammar that llama.cpp makes from a JSON schema."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk

from sluice.llm.chat import AnswerConstraint, Delta, Messages, ShapeParameters, ToolParameters

_CALL = "<tool_call>"  # a call in words needs no chat template with a place for tools
# A token of its own may end them: llguidance knows one end of a turn, and that of SmolLM2 is another.
_WORDS = r"/[^<](.|\n)*/ <[*]>?"
_SAYS = {"type", "enum", "const", "$ref", "properties", "items", "prefixItems", "anyOf", "oneOf", "allOf"}
_SCALARS = ["string", "number", "boolean", "null"]
_FREE, _BRIEF = (400, 8), (24, 1)  # characters of a string; items of a list, or keys of an object that names none
_ROOM = 64  # characters of a string with a format or a pattern: a date that has no room could not be written
_ONLY_OURS = {"tools", "tool_choice", "response_format", "brief"}
_TOLD = (
    '\n\nYou can call a function: write <tool_call>{"name": …, "arguments": …}. Call one where it is needed for the '
    "answer, and else answer yourself. The functions:\n"
)


async def held(
    ask: Callable[..., AsyncGenerator[Delta, None]],
    messages: Messages,
    parameters: ToolParameters | ShapeParameters,
    *,
    deadline: float,
) -> AsyncGenerator[Delta, None]:
    values = parameters.model_dump(exclude=_ONLY_OURS) | {"grammar": grammar(parameters)}
    constraint = AnswerConstraint.model_validate(values, by_name=True)
    said, in_words = "", not parameters.tools
    async with aclosing(ask(_told(messages, parameters.tools), constraint, deadline=deadline)) as deltas:
        async for delta in deltas:
            if delta.finish_reason is None:
                said += delta.text
                in_words = in_words or not (_CALL.startswith(said) or said.startswith(_CALL))
                if in_words:
                    yield Delta(said)
                    said = ""
                continue
            if said:
                yield Delta(tool_calls=(_call(said.removeprefix(_CALL)),))
            yield delta._replace(finish_reason="tool_calls") if said and delta.finish_reason == "stop" else delta


def grammar(parameters: ToolParameters | ShapeParameters) -> str:
    """Return llama.cpp's grammar of an answer: a call, the form, or words that don't begin as a call."""
    form, brief = getattr(parameters, "response_format", None), getattr(parameters, "brief", False)
    choice = parameters.tool_choice
    rules: list[str] = []
    calls: list[str] = []
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    for function in [tool["function"] for tool in parameters.tools]:
        if choice != "none" and named in (None, function["name"]):
            calls.append(f"call_{len(calls)}")
            begins = json.dumps(f'{_CALL}{{"name": "{function["name"]}", "arguments": ')
            given = _json(function.get("parameters") or {"type": "object"}, brief=brief)
            rules.append(f'{calls[-1]}: {begins} {given} "}}"')
    if not named and choice != "required":
        calls.append("answer")
        rules.append(f"answer: {_json(form['json_schema']['schema'], brief=brief) if form else _WORDS}")
    return "\n".join(["%llguidance {}", f"start: {' | '.join(calls)}", *rules])


def _json(schema: Mapping[str, Any], *, brief: bool) -> str:
    # White space has no end, where a model may choose it.
    spelt = {"whitespace_flexible": False, "coerce_one_of": True, "lenient": True}
    return f"%json {json.dumps({**limited(schema, brief=brief), 'x-guidance': spelt}, ensure_ascii=False)}"


def limited(schema: Any, *, brief: bool) -> Any:
    """Return a narrower schema with a limit for each string, list and object; if brief, with required keys only."""
    if schema is False or (isinstance(schema, dict) and len(schema.get("allOf", ())) > 1):  # closed, none fits them all
        return schema
    made = {} if schema is True else dict(schema)
    if not made.keys() & _SAYS:
        made["type"] = _SCALARS if brief else [*_SCALARS, "array", "object"]
    for key in made.keys() & {"anyOf", "oneOf", "allOf", "prefixItems"}:
        made[key] = [limited(one, brief=brief) for one in made[key]]
    for key in made.keys() & {"$defs", "definitions"}:
        made[key] = {name: limited(one, brief=brief) for name, one in made[key].items()}
    kinds = {made["type"]} if isinstance(made.get("type"), str) else {*made.get("type", ())}
    characters, most = _BRIEF if brief else _FREE
    if "string" in kinds and "const" not in made and "enum" not in made:
        room = _ROOM if {"format", "pattern"} & made.keys() else 0
        longest = max(characters, room, made.get("minLength", 0))
        made["maxLength"] = min(longest, made.get("maxLength", longest))
    if "array" in kinds:
        longest = max(most, made.get("minItems", 0), len(made.get("prefixItems", ())))
        made["maxItems"] = min(longest, made.get("maxItems", longest))
        if brief or "items" in made:
            made["items"] = limited(made.get("items", True), brief=brief)
    if "properties" in made:
        needed = made.get("required", ())
        named = made["properties"] | {key: True for key in needed if key not in made["properties"]}
        kept = {key: one for key, one in named.items() if key in needed or not brief}
        made["properties"] = {key: limited(one, brief=brief) for key, one in kept.items()}
        made["additionalProperties"] = False
    elif "object" in kinds and made.get("additionalProperties") is not False:
        made["additionalProperties"] = limited(made.get("additionalProperties", True), brief=True)
        longest = max(most, made.get("minProperties", 0), len(made.get("required", ())))
        made["maxProperties"] = min(longest, made.get("maxProperties", longest))
    return made


def _call(text: str) -> ToolCallChunk:
    """Parse a call; one that was cut off keeps its text as the arguments."""
    try:
        call = json.loads(text)
        name, arguments = call["name"], json.dumps(call["arguments"], ensure_ascii=False)
    except ValueError:
        name, arguments = "", text
    return tool_call_chunk(index=0, id=f"call_{uuid4().hex[:24]}", name=name, args=arguments)


def _told(messages: Messages, tools: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    told = [_in_words(message) for message in messages]
    if not tools:
        return told
    functions = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    if told[0]["role"] != "system":
        told.insert(0, {"role": "system", "content": ""})
    told[0]["content"] = f"{told[0]['content']}{_TOLD}{functions}".lstrip()
    return told


def _in_words(message: Mapping[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"Result of the function:\n{message['content']}"}
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    written = [f'{_CALL}{{"name": "{call["name"]}", "arguments": {call["arguments"]}}}' for call in calls]
    return {"role": message["role"], "content": "\n".join([one for one in (message["content"], *written) if one])}
