"""requests.jsonl, which is not trusted: a fault names its line and kind, and repeats nothing of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sluice.core.atomic_files import write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings
from sluice.core.text import no_number
from sluice.llm.chat import AnswerConstraint, ToolParameters
from sluice.prompts import ModelParameters

NAME = "requests.jsonl"
SCHEMA = 1
# A line holds little beside its messages, whose characters JSON writes with six bytes at most.
_BESIDE_MESSAGES = 64 * 1024
_ESCAPED = 6
# What vendors write around tools, in tokens: Anthropic's pricing page names 804 at most.
_ABOUT_TOOLS = 1024
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class HostedLimits(Settings):
    """config/hosted.yaml: what a pull request may ask. Only the file of main counts; its numbers have no defaults."""

    rounds: int = Field(ge=1, le=20, description="attempts of one run of ci whose requests are answered")
    requests: int = Field(ge=1, description="requests of a file")
    request_bytes: int = Field(ge=1, description="messages of a request, as UTF-8")
    output_tokens: int = Field(ge=1, description="longest answer that a request may ask for")
    tokens: int = Field(ge=1, description="tokens of all requests of a file, at most")
    dollars_per_change: float = Field(ge=0, description="US dollars a day (UTC) for one branch")
    dollars_per_day: float = Field(ge=0, description="US dollars a day (UTC) for all branches together")
    authors: Literal["write", "all"] = Field(description="whose requests are answered unasked")


def load_limits(config: Path) -> HostedLimits:
    return load_settings(config / "hosted.yaml", HostedLimits)


class RefusedRequestsError(SluiceError):
    """A file of requests is refused as a whole: nothing of it is asked."""


class CalledFunction(Settings):
    """The tool calls of a model, as it wrote them."""

    name: str = Field(max_length=256)
    arguments: str


class RequestToolCall(Settings):
    """A call in a message of the assistant."""

    type: Literal["function"]
    id: str = Field(max_length=256)
    function: CalledFunction


class RequestMessage(Settings):
    """One message of the chat, as it is sent."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[RequestToolCall, ...] = Field((), max_length=128)
    tool_call_id: str | None = Field(None, max_length=256)

    @model_validator(mode="after")
    def _of_its_role(self) -> Self:
        if (self.role == "tool") != (self.tool_call_id is not None) or (self.tool_calls and self.role != "assistant"):
            raise ValueError("a tool call or result from somebody else")
        return self


class ToolFunction(Settings):
    """A tool of the application. `parameters`: its JSON Schema."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class RequestTool(Settings):
    """A function alone: tools of a vendor's own would search, run code or call addresses at the key's cost."""

    type: Literal["function"]
    function: ToolFunction


class NamedFunction(Settings):
    """The tool that must be called."""

    name: str = Field(max_length=128)


class RequestToolChoice(Settings):
    """Which tool must be called, in the form of OpenAI's API."""

    type: Literal["function"]
    function: NamedFunction


class RequestParameters(Settings):
    """Parameters as they are sent, with the seed of the trial."""

    temperature: float = Field(ge=0, le=2, strict=True)
    max_tokens: int = Field(ge=1, le=8192, strict=True)
    top_p: float = Field(gt=0, le=1, strict=True)
    seed: int = Field(ge=-(2**63), lt=2**63, strict=True)
    stop: tuple[str, ...] = Field((), max_length=16)
    grammar: str | None = Field(None, max_length=32 * 1024)
    tools: tuple[RequestTool, ...] | None = Field(None, min_length=1, max_length=128)
    tool_choice: Literal["auto", "none", "required"] | RequestToolChoice | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.tools is None) != (self.tool_choice is None) or (self.tools and self.grammar is not None):
            raise ValueError("tools, tool_choice and a grammar cannot be combined")
        return self


class ProviderRequest(Settings):
    """A line of requests.jsonl: one request to a hosted model. Who is asked is a name, never an address."""

    version: Literal[1] = Field(description="of this schema")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="key of the response in the cache")
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$", description="name in config/providers.yaml")
    parameters: RequestParameters
    messages: tuple[RequestMessage, ...] = Field(min_length=1, max_length=256)
    trial: int = Field(ge=0, le=1000, strict=True, description="which of several answers it is")

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        written = json.dumps(self.model_dump(), ensure_ascii=False, allow_nan=False)  # ValueError: infinity, too deep
        if _SURROGATE.search(written):
            raise ValueError("an incomplete character")
        for tool in self.parameters.tools or ():
            if not all(reference.startswith("#") for reference in _references(tool.function.parameters)):
                raise ValueError("a schema that is stored elsewhere")
        return self

    @property
    def size(self) -> int:
        """An upper bound of the tokens: bytes, with tools in the widest form that a vendor may show to the model."""
        texts = [message.content for message in self.messages]
        told = sum(len(text.encode()) + 16 for text in (*texts, self.parameters.grammar or ""))
        calls = [message.model_dump(include={"tool_calls", "tool_call_id"}) for message in self.messages]
        tools = self.parameters.model_dump(include={"tools", "tool_choice"})
        if self.parameters.tools is None and not any(one["tool_calls"] or one["tool_call_id"] for one in calls):
            return told
        return told + len(json.dumps([tools, calls], indent=4)) + _ABOUT_TOOLS

    def asked(self) -> tuple[list[dict[str, Any]], ModelParameters]:
        """Return messages and parameters as the application would send them."""
        given = self.parameters
        kind = ToolParameters if given.tools else AnswerConstraint if given.grammar is not None else ModelParameters
        values = given.model_dump(mode="json", exclude_unset=True)
        values = {name: value for name, value in values.items() if value is not None}
        messages = [message.model_dump(mode="json", exclude_unset=True) for message in self.messages]
        return messages, kind.model_validate(values, by_name=True, by_alias=False)


def _references(schema: Any) -> Iterator[str]:
    """Yield the references of a JSON Schema, including properties that are called like the keywords."""
    if isinstance(schema, dict):
        yield from (str(schema[name]) for name in ("$ref", "$dynamicRef", "$recursiveRef") if name in schema)
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _references(inner)


def schemas() -> dict[str, type[Settings]]:
    """Return the models that engine/schemas/ has a JSON Schema of, by file."""
    return {"request.schema.json": ProviderRequest}


def write_requests(path: Path, requests: Iterable[Mapping[str, Any]]) -> None:
    """Write the requests in an order that depends on the requests alone."""
    rows = ({"version": SCHEMA, **request} for request in requests)
    write_jsonl(path, sorted(rows, key=lambda row: str(row["digest"])))


def read_requests(raw: bytes, limits: HostedLimits) -> list[ProviderRequest]:
    if raw.count(b"\n") > limits.requests or len(raw) > limits.requests * _longest(limits):
        raise _refused(f"more than {limits.requests} requests", "ask for less, or raise `requests`")
    found: dict[str, ProviderRequest] = {}
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n"), 1):
        if len(line) > _longest(limits):
            raise _refused(f"line {number}: too long", "shorten the prompt, or raise `request_bytes`")
        request = _parsed(number, line)
        if request.size > limits.request_bytes:
            raise _refused(f"line {number}: messages are too long", "shorten the prompt, or raise `request_bytes`")
        if request.parameters.max_tokens > limits.output_tokens:
            raise _refused(f"line {number}: asks for too long an answer", "lower maxTokens, or raise `output_tokens`")
        if request.digest in found:
            raise _refused(f"line {number}: a digest stands there twice")
        found[request.digest] = request
    return list(found.values())


def _longest(limits: HostedLimits) -> int:
    return limits.request_bytes * _ESCAPED + _BESIDE_MESSAGES


def _parsed(number: int, line: bytes) -> ProviderRequest:
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_once, parse_constant=no_number)
        return ProviderRequest.model_validate(value)
    except ValidationError as error:
        # Names of fields of the schema, and not those that the file has.
        known = {str(part) for part in error.errors()[0]["loc"]} & _FIELDS
        where = f" ({', '.join(sorted(known))})" if known else ""
        raise _refused(f"line {number}: not what the schema says{where}") from None
    except (ValueError, RecursionError):
        raise _refused(f"line {number}: not one object of JSON in UTF-8") from None


_FIELDS = {
    name
    for model in (ProviderRequest, RequestParameters, RequestMessage, RequestTool, ToolFunction, RequestToolCall)
    for name in model.model_fields
}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a duplicate key")
    return found


def _refused(what: str, remedy: str = "") -> RefusedRequestsError:
    raised = f"{remedy} in config/hosted.yaml of main" if "raise" in remedy else remedy
    return RefusedRequestsError(f"{NAME}: {what}", remedy=raised or "let `sluice eval` write the file")
