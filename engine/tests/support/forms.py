"""Schemas of OpenAI's strict subset, a model of random weights, and whether its answers validate by jsonschema."""

import json
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


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_NODE = {"$ref": "#/$defs/node"}
# What OpenAI's guide to structured outputs allows.
SCHEMAS: tuple[dict[str, Any], ...] = (
    _object(name={"type": "string"}, **{'quo"te': {"type": "string", "minLength": 3, "maxLength": 9}}),
    _object(code={"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}, mail={"type": "string", "format": "email"}),
    _object(due={"type": "string", "format": "date"}, id={"type": "string", "format": "uuid"}),
    _object(few={"type": "integer", "minimum": 2, "maximum": 2}, some={"type": "integer", "exclusiveMinimum": 0}),
    _object(share={"type": "number", "minimum": 0, "maximum": 1}, less={"type": "number", "maximum": -5}),
    _object(ok={"type": "boolean"}, colour={"enum": ["red", 'a "b"', 3, None]}, ünïcode={"const": False}),
    _object(
        tags={"type": "array", "items": {"type": ["string", "null"]}, "minItems": 1, "maxItems": 3},
        either={"anyOf": [_object(city={"type": "string"}), {"type": "integer"}]},
    ),
    _object(**{"a/b": _object(**{"$x": {"type": "number"}})}) | {"required": []},
    _object(node=_NODE) | {"$defs": {"node": _object(next={"anyOf": [_NODE, {"type": "null"}]})}},
)


def ask(server: LocalServer, schema: dict[str, Any], *, call: bool, brief: bool, seed: int) -> tuple[str, str]:
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


def fault(server: LocalServer, schema: dict[str, Any], *, call: bool, seed: int) -> str:
    """Return the fault of the answer to a schema. One without an end is asked for in brief."""
    for brief in (False, True):
        text, reason = ask(server, schema, call=call, brief=brief, seed=seed)
        if reason != "stop":
            continue
        try:
            errors = list(Draft202012Validator(schema).iter_errors(json.loads(text)))
        except ValueError as error:
            return f"{text!r}: {error}"
        return f"{text}: {errors[0].message}" if errors else ""
    return f"no end: {text!r}"


def random_model(chat: Path, path: Path) -> Path:
    """Write a small model of one layer with random weights and the tokens of another."""
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
