"""The prompt itself: what a `.prompt.yml` file may hold, its canonical digest, and its rendering."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, nearest

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class ModelParameters(Settings):
    """Sampling parameters sent with the prompt; the names are those of the `.prompt.yml` layout."""

    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(48, alias="maxTokens", ge=1, le=8192, description="longest answer, in tokens")
    top_p: float = Field(1.0, alias="topP", gt=0, le=1)
    seed: int = 1
    stop: tuple[str, ...] = ()


class Message(Settings):
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Variable(Settings):
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    type: Literal["string", "integer", "number", "boolean"] = "string"
    required: bool = True
    description: str = ""


class Prompt(Settings):
    """One prompt version. `digest` is over the canonical form: reformatting the file is not a new version."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    description: str = Field(min_length=1)
    model: str = Field(description="a role of config/models.yaml")
    parameters: ModelParameters = Field(
        default_factory=lambda: ModelParameters.model_validate({}), alias="modelParameters"
    )
    messages: tuple[Message, ...] = Field(min_length=1)
    variables: tuple[Variable, ...] = ()
    test_data: tuple[dict[str, Any], ...] = Field((), alias="testData")

    @property
    def digest(self) -> str:
        """Hex sha256 over all that changes what the model sees: parameters, messages, variables, role."""
        seen = {"model", "parameters", "messages", "variables"}
        unseen = {"variables": {"__all__": {"description"}}}
        return digest_of(self.model_dump(include=seen, exclude=unseen, mode="json"))

    def placeholders(self) -> set[str]:
        """Names used as `{{name}}` in any message."""
        return {name for message in self.messages for name in PLACEHOLDER.findall(message.content)}

    def render(self, **values: Any) -> list[dict[str, str]]:
        """The chat messages with every `{{variable}}` filled in, in one pass: values are never expanded again.

        Raises SluiceError for a value that is not declared and for a required one that is missing.
        """
        declared = {variable.name: variable for variable in self.variables}
        for name in values:
            if name not in declared:
                raise SluiceError(f"prompt {self.name}: no variable {name!r}{nearest(name, list(declared))}")
        missing = [v.name for v in self.variables if v.required and v.name not in values]
        if missing:
            raise SluiceError(f"prompt {self.name}: no value for {', '.join(missing)}")

        def fill(content: str) -> str:
            return PLACEHOLDER.sub(lambda found: str(values.get(found[1], "")), content)

        return [{"role": message.role, "content": fill(message.content)} for message in self.messages]
