"""A text that is longer than the service is meant for: long inputs cost time and hide instructions."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import Find, Finding
from sluice.guardrails.seen import Kit, Seen


class Options(Settings):
    max_characters: int = Field(2000, ge=1, description="longest text, in characters as they were sent")


def make(options: Options, kit: Kit) -> Find:  # noqa: ARG001 - every check is made of both
    def find(seen: Seen) -> list[Finding]:
        """One finding over all that is too much."""
        if len(seen.text) <= options.max_characters:
            return []
        return [Finding("length.too_long", options.max_characters, len(seen.text))]

    return find
