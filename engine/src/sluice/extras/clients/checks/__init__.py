"""The format of a whole answer: JSON, optionally valid under a schema. The answer is buffered until the check."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import jsonschema_rs
from pydantic import Field, field_validator

from sluice.core.settings import Settings
from sluice.guardrails.check import Check, CheckContext, Finding, check


class FormatOptions(Settings):
    json_schema: dict[str, Any] = Field(default_factory=dict, description="JSON Schema; empty: any JSON")

    @field_validator("json_schema")
    @classmethod
    def _is_one(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            jsonschema_rs.validator_for(schema)
        except jsonschema_rs.ValidationError as error:
            raise ValueError(f"not a JSON Schema: {error.message}") from None
        return schema

    @cached_property
    def validator(self) -> Any:
        return jsonschema_rs.validator_for(self.json_schema)


@check
class FormatCheck(Check):
    name = "format"
    options_model = FormatOptions
    actions = ("block", "annotate", "reask")
    whole_answers = True

    def find(self, context: CheckContext) -> list[Finding]:
        """At most one finding, over the whole answer."""
        try:
            value = json.loads(context.text)
        except ValueError:
            return [Finding("format.not_json", 0, len(context.text))]
        if not self.options.validator.is_valid(value):
            return [Finding("format.schema", 0, len(context.text))]
        return []
