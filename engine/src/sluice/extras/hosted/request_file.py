"""requests.jsonl: requests that a pull request's job could not replay, as data that is not trusted.

A fault is told by its line and its kind. Nothing of the file is repeated, not even the name of a key: faults are read
by people and in logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sluice.core.atomic_files import write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.extras.hosted.limits import HostedLimits
from sluice.llm.chat import AnswerConstraint
from sluice.prompts import ModelParameters

NAME = "requests.jsonl"
SCHEMA = 1
# A line holds little beside its messages, whose characters JSON writes with six bytes at most.
_BESIDE_MESSAGES = 64 * 1024
_ESCAPED = 6
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class RefusedRequestsError(SluiceError):
    """A file of requests is refused as a whole: nothing of it is asked."""


class RequestMessage(Settings):
    """One message of the chat, as it is sent."""

    role: Literal["system", "user", "assistant"]
    content: str


class RequestParameters(Settings):
    """Parameters as they are sent, with the seed of the trial."""

    temperature: float = Field(ge=0, le=2, strict=True)
    max_tokens: int = Field(ge=1, le=8192, strict=True)
    top_p: float = Field(gt=0, le=1, strict=True)
    seed: int = Field(ge=-(2**63), lt=2**63, strict=True)
    stop: tuple[str, ...] = Field((), max_length=16)
    grammar: str | None = Field(None, max_length=32 * 1024)


class ProviderRequest(Settings):
    """A line of requests.jsonl: one request to a hosted model. Who is asked is a name, never an address."""

    version: Literal[1] = Field(description="of this schema")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="key of the response in the cache")
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$", description="name in config/providers.yaml")
    parameters: RequestParameters
    messages: tuple[RequestMessage, ...] = Field(min_length=1, max_length=256)
    trial: int = Field(ge=0, le=1000, strict=True, description="which of several answers it is")

    @model_validator(mode="after")
    def _is_unicode(self) -> Self:
        texts = [message.content for message in self.messages]
        texts += [*self.parameters.stop, self.parameters.grammar or ""]
        if any(_SURROGATE.search(text) for text in texts):
            raise ValueError("half a character")
        return self

    @property
    def size(self) -> int:
        """Bytes that are sent and may be counted as tokens: no tokenizer makes more tokens than bytes."""
        texts = [message.content for message in self.messages]
        return sum(len(text.encode()) + 16 for text in (*texts, self.parameters.grammar or ""))

    def asked(self) -> tuple[list[dict[str, str]], ModelParameters]:
        """The messages and parameters, as the chain would send them."""
        kind = AnswerConstraint if self.parameters.grammar is not None else ModelParameters
        values = self.parameters.model_dump(exclude_none=True)
        return [m.model_dump() for m in self.messages], kind.model_validate(values, by_name=True, by_alias=False)


def schemas() -> dict[str, type[Settings]]:
    """Models that engine/schemas/ has a JSON Schema of, by its file."""
    return {"request.schema.json": ProviderRequest}


def write_requests(path: Path, requests: Iterable[Mapping[str, Any]]) -> None:
    """Writes what replay has noted, in an order that depends on the requests alone."""
    rows = ({"version": SCHEMA, **request} for request in requests)
    write_jsonl(path, sorted(rows, key=lambda row: str(row["digest"])))


def read_requests(raw: bytes, limits: HostedLimits) -> list[ProviderRequest]:
    """Reads a file from an untrusted source.

    Args:
        raw: its bytes.
        limits: config/hosted.yaml of this checkout.

    Returns:
        The requests, each digest once.

    Raises:
        RefusedRequestsError: one of them is not what the schema says, or there are too many; says the line.
    """
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
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
        return ProviderRequest.model_validate(value)
    except ValidationError as error:
        # Names of fields of the schema, and not those that the file has.
        known = {str(part) for part in error.errors()[0]["loc"]} & {*_FIELDS}
        where = f" ({', '.join(sorted(known))})" if known else ""
        raise _refused(f"line {number}: not what the schema says{where}") from None
    except (ValueError, RecursionError):
        raise _refused(f"line {number}: not one object of JSON in UTF-8") from None


_FIELDS = (*ProviderRequest.model_fields, *RequestParameters.model_fields, *RequestMessage.model_fields)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_number(_: str) -> None:
    raise ValueError("not a number")


def _refused(what: str, remedy: str = "") -> RefusedRequestsError:
    raised = f"{remedy} in config/hosted.yaml of main" if "raise" in remedy else remedy
    return RefusedRequestsError(f"{NAME}: {what}", remedy=raised or "let `sluice eval` write the file")
