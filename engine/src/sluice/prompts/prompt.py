"""The prompt model: the fields of a `.prompt.yml` file, its canonical digest, and its rendering.

The descriptions here are what editors show (engine/schemas/prompt.schema.json is written from them).
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import Field

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, nearest

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
EXPECTED = "expected"  # the key of testData that is no variable
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
        """What is wrong with a value for this variable; None when nothing is."""
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
        """Hex sha256 over all that changes what the model sees: parameters, messages, variables, role.

        It is over the canonical form: reformatting the file is not a new version.
        """
        seen = {"model", "parameters", "messages", "variables"}
        unseen = {"variables": {"__all__": {"description"}}}
        return digest_of(self.model_dump(include=seen, exclude=unseen, mode="json"))

    def render(self, **values: Any) -> list[dict[str, str]]:
        """The chat messages with every `{{variable}}` filled in, in one pass: values are never expanded again.

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
