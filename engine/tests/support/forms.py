"""Generated schemas of OpenAI's strict subset, a model of random weights, and whether its answers validate.

Used by `engine/benchmarks/forms.py` and `unit/extras/clients/test_local_form.py`. The subset is that of OpenAI's guide
to structured outputs: objects that name what they need, arrays, strings with patterns and formats, numbers with bounds,
enums, anyOf, recursion. The judge is jsonschema, where the service has jsonschema-rs.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFWriter
from jsonschema import Draft202012Validator

from sluice.extras.clients.local_form import grammar
from sluice.llm.chat import ShapeParameters
from sluice.llm.llama_server import LocalServer

_FIRST, _BRIEF = 96, 384  # tokens
_CALL = "<tool_call>"
_WORDS = ("name", "city", "count", "tags", "due", "owner", "ok", "ünïcode", "with space", 'quo"te', "a/b", "$x")
_STRINGS: tuple[dict[str, Any], ...] = (
    {},
    {"minLength": 3, "maxLength": 9},
    {"pattern": "^[A-Z]{3}-[0-9]+$"},
    {"format": "date"},
    {"format": "uuid"},
    {"format": "email"},
)
_NUMBERS: tuple[dict[str, Any], ...] = (
    {},
    {"minimum": 0, "maximum": 1},
    {"exclusiveMinimum": 0},
    {"maximum": -5},
    {"minimum": 2, "maximum": 2},
)


def schema_of(draw: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema of OpenAI's strict subset, whose root is an object."""
    root = _object(draw, depth)
    if draw.random() < 0.2:
        root["$defs"] = {"node": _object(draw, 1)}
        following = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
        root["$defs"]["node"]["properties"]["next"] = following
        root["$defs"]["node"]["required"].append("next")
        root["properties"]["node"] = {"$ref": "#/$defs/node"}
        root["required"].append("node")
    return root


def _object(draw: random.Random, depth: int) -> dict[str, Any]:
    names = draw.sample(_WORDS, draw.randint(1, 4))
    properties = {name: _any(draw, depth - 1) for name in names}
    needed = names if draw.random() < 0.7 else names[:1]
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": False}


def _any(draw: random.Random, depth: int) -> dict[str, Any]:
    kinds = ["string", "string", "integer", "number", "boolean", "enum", "const", "nullable"]
    kind = draw.choice(kinds + (["array", "object", "anyOf"] if depth > 0 else []))
    if kind == "string":
        return {"type": "string", **draw.choice(_STRINGS)}
    if kind in ("integer", "number"):
        return {"type": kind, **draw.choice(_NUMBERS[:1] + _NUMBERS[2:] if kind == "integer" else _NUMBERS)}
    if kind == "array":
        few = draw.randint(0, 2)
        limits = draw.choice(({}, {"minItems": few}, {"minItems": few, "maxItems": few + 2}))
        return {"type": "array", "items": _any(draw, depth - 1), **limits}
    simple: dict[str, Any] = {
        "boolean": {"type": "boolean"},
        "enum": {"enum": draw.sample(["red", "grün", 'a "b"', 3, None, True], 3)},
        "const": {"const": draw.choice(["x", 7, False, None])},
        "nullable": {"type": ["string", "null"]},
    }
    if kind in simple:
        found: dict[str, Any] = simple[kind]
        return found
    return _object(draw, depth) if kind == "object" else {"anyOf": [_any(draw, depth - 1), _any(draw, depth - 1)]}


def ask(server: LocalServer, schema: dict[str, Any], *, call: bool, brief: bool, seed: int) -> tuple[str, str]:
    """The JSON that the model writes under the grammar of a schema, and why it ended."""
    tool = {"type": "function", "function": {"name": "note", "parameters": schema}}
    form = {"type": "json_schema", "json_schema": {"name": "note", "schema": schema}}
    wanted = {"tools": (tool,), "tool_choice": "required"} if call else {"response_format": form}
    parameters = ShapeParameters.model_validate({**wanted, "brief": brief})
    request = {
        "messages": [{"role": "user", "content": "Write a note."}],
        "max_tokens": _BRIEF if brief else _FIRST,
        "temperature": 2.0,
        "seed": seed,
        "grammar": grammar(parameters),
    }
    choice = server.answer(request)["choices"][0]
    text = str(choice["message"]["content"])
    if not call or choice["finish_reason"] != "stop":
        return text, choice["finish_reason"]
    named = json.loads(text.removeprefix(_CALL))
    return json.dumps(named["arguments"]) if named["name"] == "note" else text, "stop"


def fault(server: LocalServer, schema: dict[str, Any], *, call: bool, seed: int, seen: Counter[str]) -> str:
    """What is wrong with the answer to a schema; empty when nothing is."""
    for brief in (False, True):
        text, reason = ask(server, schema, call=call, brief=brief, seed=seed)
        if reason != "stop":
            seen["too long for the first attempt" if not brief else "too long"] += 1
            continue
        try:
            errors = list(Draft202012Validator(schema).iter_errors(json.loads(text)))
        except ValueError as error:
            return f"{text!r}: {error}"
        return f"{text}: {errors[0].message}" if errors else ""
    return f"no end: {text!r}"


def random_model(chat: Path, path: Path) -> Path:
    """Writes a model of one small layer with random weights and the tokens of another."""
    reader, writer = GGUFReader(chat), GGUFWriter(path, "llama")
    width, tokens = 64, len(reader.fields["tokenizer.ggml.tokens"].data)
    for name, field in reader.fields.items():
        if name.startswith("tokenizer.") and field.types:
            kind, inner = field.types[0], field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), kind, inner)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    numbers = np.random.default_rng(1)
    writer.add_tensor("token_embd.weight", numbers.normal(size=(tokens, width)).astype(np.float32))
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for name in names:
        writer.add_tensor(f"blk.0.{name}.weight", numbers.normal(size=(width, width)).astype(np.float32))
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
