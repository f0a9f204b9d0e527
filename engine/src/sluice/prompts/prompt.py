"""Prompts: the fields of a `.prompt.yml` file, its digest, its rendering, and how files are read and checked.

Editors show the descriptions here (engine/schemas/prompt.schema.json). The consistency checks read the raw document and
skip malformed parts, which are reported already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, ValidationError

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Lines, Place, Settings, describe_faults, nearest, parse_yaml, place_of, read_yaml

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
SUFFIX = ".prompt.yml"
EXPECTED = "expected"  # the key of testData that is no variable
_REMEDY = "fix what is named; the keys are listed in engine/docs/reference/prompts.md"
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}
_TEST_DATA: dict[str, Any] = {
    "items": {
        "type": "object",
        "properties": {
            EXPECTED: {
                "description": "A right answer, or a list of them; an empty list: the right answer is to decline.",
                "type": ["string", "array"],
                "items": {"type": "string"},
            }
        },
        "additionalProperties": {"type": ["string", "integer", "number", "boolean"]},
    }
}


class ModelParameters(Settings):
    """Sampling parameters sent with the prompt; the names are those of the `.prompt.yml` layout."""

    temperature: float = Field(
        0.0,
        ge=0,
        le=2,
        strict=True,
        description="0 takes the likeliest token each time; higher values draw more freely",
    )
    max_tokens: int = Field(48, alias="maxTokens", ge=1, le=8192, strict=True, description="longest answer, in tokens")
    top_p: float = Field(
        1.0, alias="topP", gt=0, le=1, strict=True, description="draw from the likeliest tokens of this total share"
    )
    seed: int = Field(1, strict=True, description="start of the random numbers, for drawing that can be repeated")
    stop: tuple[str, ...] = Field((), description="texts that end the answer where they appear")


class Message(Settings):
    """One message of the chat."""

    role: Literal["system", "user", "assistant"] = Field(description="who speaks: system, user or assistant")
    content: str = Field(min_length=1, description="what is said; `{{name}}` is filled with the value of a variable")


class Variable(Settings):
    """A value that is filled in where a message says `{{name}}`."""

    name: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="as in `{{name}}`: letters, digits and underscores"
    )
    type: Literal["string", "integer", "number", "boolean"] = Field("string", description="what its values are")
    required: bool = Field(True, strict=True, description="false: without a value it is an empty text")
    description: str = Field("", description="what it holds, for people")

    def fault(self, value: Any) -> str | None:
        """Return the fault of a value for this variable, if it has one."""
        right = isinstance(value, _TYPES[self.type]) and (self.type == "boolean" or not isinstance(value, bool))
        if not right:
            quotes = "; put it in quotes" if self.type == "string" and not isinstance(value, (list, dict)) else ""
            return f"{value!r} is no {self.type}{quotes}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value!r} is no finite number"
        return None


class Prompt(Settings):
    """A prompt file of Sluice, `prompts/<name>.prompt.yml`."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]*$", description="as in the name of the file: lower case, digits, hyphens"
    )
    description: str = Field(
        min_length=1, description="what it is for, in a sentence for people; not sent to the model"
    )
    model: str = Field(description="who answers: a role of config/providers.yaml: chat, judge or teacher")
    parameters: ModelParameters = Field(
        default_factory=lambda: ModelParameters.model_validate({}), alias="modelParameters"
    )
    messages: tuple[Message, ...] = Field(min_length=1, description="what is sent, in this order")
    variables: tuple[Variable, ...] = Field((), description="every `{{name}}` that the messages use, and no other")
    test_data: tuple[dict[str, Any], ...] = Field(
        (),
        alias="testData",
        description="values to try the prompt with; `expected` may stand beside the variables",
        json_schema_extra=_TEST_DATA,
    )

    @property
    def digest(self) -> str:
        """Hex sha256 over the canonical form of what the model sees: parameters, messages, variables, role."""
        seen = {"model", "parameters", "messages", "variables"}
        unseen = {"variables": {"__all__": {"description"}}}
        return digest_of(self.model_dump(include=seen, exclude=unseen, mode="json"))

    def render(self, **values: Any) -> list[dict[str, str]]:
        """Return the chat messages with every `{{variable}}` filled in, in one pass: values are never expanded again.

        Raises SluiceError for a value that is not declared or not of its type, and for a required one that is missing.
        Anything may stand for a string; it is written out.
        """
        declared = {variable.name: variable for variable in self.variables}
        for name, value in values.items():
            if name not in declared:
                raise SluiceError(f"prompt {self.name}: no variable {name!r}{nearest(name, list(declared))}")
            if declared[name].type != "string" and (fault := declared[name].fault(value)):
                raise SluiceError(f"prompt {self.name}: {name}: {fault}")
        if missing := [v.name for v in self.variables if v.required and v.name not in values]:
            raise SluiceError(f"prompt {self.name}: no value for {', '.join(missing)}")

        def fill(found: re.Match[str]) -> str:
            value = values.get(found[1], "")
            return str(value).lower() if isinstance(value, bool) else str(value)

        return [{"role": m.role, "content": PLACEHOLDER.sub(fill, m.content)} for m in self.messages]


def load_prompt(path: Path, *, roles: Collection[str] = ()) -> Prompt:
    """Load a prompt; no `roles` means that its model role isn't checked."""
    prompt, faults = _validated(path, *read_yaml(path), roles)
    if prompt is None:
        raise ValidationErrors(str(path), faults, remedy=_REMEDY)
    return prompt


def load_prompts(folder: Path, *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    """Load all prompts of a folder by name; the faults of all files are raised together."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise ValidationErrors(str(folder), [f"{folder}: no *{SUFFIX} file"], remedy="restore the files with git")
    return _load(str(folder), {path: partial(read_yaml, path) for path in paths}, roles)


def parse_prompts(where: str, contents: Mapping[str, bytes], *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    read = {PurePath(place): partial(parse_yaml, content, place) for place, content in contents.items()}
    return _load(where, read, roles)


def _load(
    where: str, files: Mapping[PurePath, Callable[[], tuple[Any, Lines]]], roles: Collection[str]
) -> dict[str, Prompt]:
    prompts: dict[str, Prompt] = {}
    faults: list[str] = []
    owners: dict[str, PurePath] = {}
    for path, read in files.items():
        try:
            document, lines = read()
        except SluiceError as error:
            faults.append(error.message)
            continue
        prompt, found = _validated(path, document, lines, roles)
        faults += found
        name = document.get("name") if isinstance(document, dict) else None
        if isinstance(name, str) and owners.setdefault(name, path) != path:
            faults.append(f"{path}:{lines.get(('name',), 1)}: name: {name!r} is the name of {owners[name]} too")
        if prompt is not None:
            prompts[prompt.name] = prompt
    if faults:
        raise ValidationErrors(where, faults, remedy=_REMEDY)
    return prompts


def _validated(path: PurePath, document: Any, lines: Lines, roles: Collection[str]) -> tuple[Prompt | None, list[str]]:
    document = document if document is not None else {}
    prompt, faults = None, []
    try:
        prompt = Prompt.model_validate(document)
    except ValidationError as error:
        faults = describe_faults(path, error, lines, Prompt)
    if isinstance(document, dict):
        findings = [*_names(path, document, roles), *_variables(document), *_test_data(document)]
        faults += [f"{place_of(path, place, lines)}: {what}" for place, what in findings]
    return (None if faults else prompt), faults


Finding = tuple[Place, str]  # where it is, and what is wrong


def _names(path: PurePath, document: dict[Any, Any], roles: Collection[str]) -> Iterator[Finding]:
    name, role = document.get("name"), document.get("model")
    if isinstance(name, str) and path.name != f"{name}.prompt.yml":
        yield ("name",), f"is {name!r}, but the file is named {path.name!r}"
    if isinstance(role, str) and roles and role not in roles:
        yield ("model",), f"no role {role!r}{nearest(role, list(roles))}"


def _variables(document: dict[Any, Any]) -> Iterator[Finding]:
    messages, all_messages = _entries(document.get("messages"), "content")
    variables, all_variables = _entries(document.get("variables", []), "name")
    declared = [name for _, name in variables]
    used = {name for _, content in messages for name in PLACEHOLDER.findall(content)}
    if all_variables:
        for number, content in messages:
            for name in sorted(set(PLACEHOLDER.findall(content)) - set(declared)):
                yield ("messages", number, "content"), f"undeclared variable {name!r}{nearest(name, declared)}"
    for position, (number, name) in enumerate(variables):
        if all_messages and name not in used:
            yield ("variables", number), f"{name!r} is declared but never used"
        if name in declared[:position]:
            yield ("variables", number), f"{name!r} is declared twice"


def _test_data(document: dict[Any, Any]) -> Iterator[Finding]:
    variables, whole = _entries(document.get("variables", []), "name")
    rows = document.get("testData")
    if not whole or not isinstance(rows, list):
        return
    declared: dict[str, Variable] = {}
    for entry in document.get("variables") or []:
        with suppress(ValidationError):
            variable = Variable.model_validate(entry)
            declared[variable.name] = variable
    names = [name for _, name in variables]
    for number, values in enumerate(rows):
        if not isinstance(values, dict):
            continue
        for name, value in values.items():
            place = ("testData", number, str(name))
            if name == EXPECTED and name not in names:
                answers = value if isinstance(value, list) else [value]
                if wrong := [answer for answer in answers if not isinstance(answer, str)]:
                    yield place, f"{wrong[0]!r} is no text; put it in quotes"
            elif name not in names:
                yield place, f"no variable {name!r}{nearest(str(name), names)}"
            elif name in declared and (fault := declared[name].fault(value)):
                yield place, fault
        if missing := [name for name, variable in declared.items() if variable.required and name not in values]:
            yield ("testData", number), f"no value for {', '.join(missing)}"


def _entries(entries: Any, key: str) -> tuple[list[tuple[int, str]], bool]:
    """Return (number, text under `key`) of the entries that have it, and whether all of them do."""
    if not isinstance(entries, (list, tuple)):
        return [], False
    found = [
        (number, entry[key])
        for number, entry in enumerate(entries)
        if isinstance(entry, dict) and isinstance(entry.get(key), str)
    ]
    return found, len(found) == len(entries)
