"""The form of a whole answer: JSON, and if wanted JSON that fits a schema. The answer is held back until then."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from pydantic import Field, field_validator

from sluice.core.settings import Settings
from sluice.guardrails.check import Find, Finding
from sluice.guardrails.seen import Kit, Seen


class Options(Settings):
    json_schema: dict[str, Any] = Field(default_factory=dict, description="JSON Schema; empty: any JSON")

    @field_validator("json_schema")
    @classmethod
    def _is_one(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(schema).check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.message}") from None
        return schema

    @cached_property
    def validator(self) -> Any:
        from jsonschema.validators import validator_for

        return validator_for(self.json_schema)(self.json_schema)


def make(options: Options, kit: Kit) -> Find:  # noqa: ARG001 - every check is made of both
    def find(seen: Seen) -> list[Finding]:
        """At most one finding, over the whole answer."""
        try:
            value = json.loads(seen.text)
        except ValueError:
            return [Finding("format.not_json", 0, len(seen.text))]
        if not options.validator.is_valid(value):
            return [Finding("format.schema", 0, len(seen.text))]
        return []

    return find
