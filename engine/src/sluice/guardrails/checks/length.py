"""The maximum length of a text: long inputs cost time and can hide instructions."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import Check, Finding, check
from sluice.guardrails.context import CheckContext


class LengthOptions(Settings):
    max_characters: int = Field(2000, ge=1, description="longest text, in characters as they were sent")


@check
class LengthCheck(Check):
    name = "length"
    options_model = LengthOptions
    actions = ("block", "drop")

    def find(self, context: CheckContext) -> list[Finding]:
        """One finding over all that is too much."""
        most, length = self.options.max_characters, len(context.text)
        return [Finding("length.too_long", most, length)] if length > most else []
