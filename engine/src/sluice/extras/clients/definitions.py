"""Tools and forms as OpenAI's API has them, strictly validated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema_rs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from sluice.serving.request_schema import whole

_DEEPEST, _LARGEST = 32, 2_000  # of a schema: levels and parts
_LIMITS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    """A schema that can be held against an answer, without looking anything up and in time that is linear."""
    for number, (part, depth) in enumerate(_parts(value, 0)):
        if depth > _DEEPEST or number > _LARGEST:
            raise ValueError(f"a schema of more than {_DEEPEST} levels or {_LARGEST} parts is not supported")
        reference = part.get("$ref", "#")
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise ValueError("a $ref points outside the schema")
        for low, high in _LIMITS:
            least, most = part.get(low), part.get(high)
            if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
                raise ValueError(f"no value fits: {low} {least} is over {high} {most}")
    try:
        validator(value)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(f"not a JSON schema: {error.message if hasattr(error, 'message') else error}") from None
    return value


def _parts(value: Any, depth: int) -> Iterator[tuple[dict[str, Any], int]]:
    if isinstance(value, dict):
        yield value, depth
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(one, depth + 1)


def validator(schema: dict[str, Any]) -> Any:
    """What holds an answer against a schema: it looks nothing up, and its patterns take linear time."""
    return jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())


Schema = Annotated[dict[str, Any], AfterValidator(_schema)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FunctionDefinition(_Definition):
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: StrictBool | None = None


class ToolDefinition(_Definition):
    type: Literal["function"]
    function: FunctionDefinition


class FormSchema(_Definition):
    name: Name
    description: str | None = None
    schema_: Schema = Field({}, alias="schema")
    strict: StrictBool | None = None


class TextForm(_Definition):
    type: Literal["text"]


class ObjectForm(_Definition):
    type: Literal["json_object"]


class SchemaForm(_Definition):
    type: Literal["json_schema"]
    json_schema: FormSchema


class _NamedFunction(_Definition):
    name: str


class NamedTool(_Definition):
    type: Literal["function"]
    function: _NamedFunction


def _is_object(text: str) -> str:
    if not isinstance(json.loads(text), dict):
        raise ValueError("not an object")
    return whole(text)


class _CalledFunction(BaseModel):
    name: Name
    arguments: Annotated[str, AfterValidator(_is_object)]


class CalledTool(BaseModel):
    """A call as a client sends it back; further keys are ignored."""

    id: str
    type: Literal["function"] = "function"
    function: _CalledFunction


class Wishes(BaseModel):
    """The fields of a request that are about tools and forms."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    tools: Annotated[list[ToolDefinition], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[TextForm | ObjectForm | SchemaForm, Field(discriminator="type")] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
