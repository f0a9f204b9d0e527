"""A caller's tools and response format: nothing is given out that doesn't parse and validate."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

import jsonschema_rs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError

from sluice.core.text import no_number
from sluice.serving.answer import ModelError, RequestError
from sluice.serving.replies import param_of
from sluice.serving.request_schema import whole

if TYPE_CHECKING:
    from sluice.serving.request_schema import ChatMessage, ChatRequest
    from sluice.serving.request_state import RequestState


_DEEPEST, _LARGEST = 32, 2_000  # of a schema: levels and parts
_LIMITS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    """Accept a schema that can be checked in linear time without looking anything up."""
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
    """Return a validator that looks nothing up and whose patterns take linear time."""
    return jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())


Schema = Annotated[dict[str, Any], AfterValidator(_schema)]


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


class PlainForm(_Definition):
    type: Literal["text", "json_object"]


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
    """A call as a client sends it back; unknown keys are ignored."""

    id: str
    type: Literal["function"] = "function"
    function: _CalledFunction


class Wishes(BaseModel):
    """The fields of a request about tools and formats."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    tools: Annotated[list[ToolDefinition], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[PlainForm | SchemaForm, Field(discriminator="type")] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class ClientOptions:
    """The options of one request. A format without a schema is any object."""

    def __init__(self, wishes: Wishes, messages: Sequence[ChatMessage]) -> None:
        self._wishes = wishes
        shown = [] if wishes.tool_choice == "none" else wishes.tools or []
        self._tools = {tool.function.name: tool.function for tool in shown}
        form = wishes.response_format
        self._form = None if form is None or form.type == "text" else form
        self.whole = self._form is not None
        self.names = frozenset(
            name for name, given in (("tools", self._tools), ("response_format", self._form)) if given
        )
        last = max((place for place, one in enumerate(messages) if one.role == "user"), default=len(messages))
        self.exchange = [said for one in messages[last + 1 :] if (said := _exchanged(one))]
        calls = [one for one in self.exchange if one["role"] == "assistant"]
        claims = [one["content"] for one in calls]
        claims += [call["function"]["arguments"] for one in calls for call in one["tool_calls"]]
        self.claims = [text for text in claims if text.strip()]

    @cached_property
    def _schema(self) -> dict[str, Any]:
        given = self._form.json_schema.schema_ if isinstance(self._form, SchemaForm) else {}
        return given or {"type": "object"}

    def parameters(self, longest: int, *, brief: bool) -> dict[str, Any]:
        """See `CallerOptions`. The caller's length counts up to `longest`."""
        wanted = self._wishes.max_completion_tokens or self._wishes.max_tokens or longest
        values: dict[str, Any] = {"max_tokens": min(wanted, longest)} if self.names else {}
        if self._tools:
            functions = [tool.model_dump(exclude_none=True) for tool in self._tools.values()]
            values["tools"] = [{"type": "function", "function": one} for one in functions]
            choice = self._wishes.tool_choice or "auto"
            values["tool_choice"] = choice.model_dump() if isinstance(choice, NamedTool) else choice
        if self._form:
            strict = isinstance(self._form, SchemaForm) and bool(self._form.json_schema.strict)
            name = self._form.json_schema.name if isinstance(self._form, SchemaForm) else "object"
            form = {"name": name, "schema": self._schema, "strict": strict}
            values["response_format"] = {"type": "json_schema", "json_schema": form}
        return values | ({"brief": True} if brief and self.names else {})

    async def settle(self, text: str, request: RequestState, check: Callable[[str], Awaitable[str]]) -> str:
        again = bool(request.refused)
        try:
            calls = self._calls(list(request.called.values()))
            form = self._form if not calls else None
            said = await check(self._held(text, self._schema) if form else text) if text.strip() or not calls else ""
            # Each is looked at as it is sent; what was redacted has to hold as well.
            checked = [{**call, "args": await check(call["args"])} for call in calls]
            if request.blocked or bool(request.refused) is not again:
                return ""
            request.tool_calls = tuple(_sent(call) for call in self._calls(checked))
            return self._held(said, self._schema) if form else said
        except ValueError as error:
            if request.refused or request.text:
                raise ModelError(f"the answer does not have the requested format: {error}") from None
            request.refused = ("another form than asked for",)
            return ""

    def quotes(self, text: str) -> list[str]:
        """See `CallerOptions`: the strings of an object."""
        try:
            return list(dict.fromkeys(_strings(json.loads(text)))) if self._form else [text]
        except ValueError:  # a refusal
            return [text]

    def _calls(self, called: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Validate the calls of the caller's tools. Raises ValueError."""
        choice = self._wishes.tool_choice
        wanted = choice.function.name if isinstance(choice, NamedTool) else None
        if not called and (wanted or choice == "required"):
            raise ValueError("no tool was called")
        made = []
        for call in called if self._wishes.parallel_tool_calls is not False else called[:1]:
            if call["name"] not in self._tools or wanted not in (None, call["name"]):
                raise ValueError("the model called a tool that was not offered")
            schema = self._tools[call["name"]].parameters or {"type": "object"}
            given = self._held(call["args"] or "{}", schema)
            made.append({"id": call["id"] or f"call_{uuid4().hex[:24]}", "name": call["name"], "args": given})
        return made

    @staticmethod
    def _held(text: str, schema: dict[str, Any]) -> str:
        value = json.loads(text, parse_constant=no_number)
        try:
            validator(schema).validate(value)
        except jsonschema_rs.ValidationError as error:
            place = "/".join(map(str, error.instance_path))
            raise ValueError(f"{place or 'the whole'} does not validate") from None
        # Spelt in one way: no escape hides a text from the guards.
        return json.dumps(value, ensure_ascii=False)


def read_options(request: ChatRequest) -> ClientOptions:
    try:
        wishes = Wishes.model_validate(request.model_dump(include={*Wishes.model_fields}))
        return _checked(wishes, ClientOptions(wishes, request.messages))
    except ValidationError as error:
        fault = error.errors()[0]
        name, *inner = fault["loc"]
        # Between them pydantic names the kind of a form or of a choice.
        place = param_of([name, *(inner[1:] if name == "response_format" else inner if name == "tools" else ())])
        place = place if name in Wishes.model_fields else "messages.tool_calls"
        raise RequestError(f"{place}: {fault['msg'].removeprefix('Value error, ')}", param=place) from None


def _checked(wishes: Wishes, options: ClientOptions) -> ClientOptions:
    names = [tool.function.name for tool in wishes.tools or ()]
    choice = wishes.tool_choice
    if len(names) > len(set(names)):
        raise RequestError("tools: two have the same name", param="tools")
    if choice == "required" and not names:
        raise RequestError("tool_choice: there are no tools", param="tool_choice")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise RequestError(f"tool_choice: no tool {choice.function.name!r}", param="tool_choice")
    return options


def _exchanged(message: ChatMessage) -> dict[str, Any]:
    """Return a message with calls, or the result of one, for the model; empty for other messages."""
    said = {"role": message.role, "content": whole(message.text)}
    if message.role == "assistant" and message.tool_calls:
        return said | {"tool_calls": [CalledTool.model_validate(call).model_dump() for call in message.tool_calls]}
    return said | {"tool_call_id": message.tool_call_id} if message.role == "tool" and message.tool_call_id else {}


def _sent(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["args"]}}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(one)
