"""Insults and obscene language, by the linear model of alt-profanity-check: engine/docs/reference/metrics.md says how
good."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import Find, Finding
from sluice.guardrails.seen import Kit, Seen


class Options(Settings):
    threshold: float = Field(0.9, gt=0, lt=1, description="probability from which a text is toxic")


def make(options: Options, kit: Kit) -> Find:
    kit.require_model("toxicity")

    def find(seen: Seen) -> list[Finding]:
        """At most one finding, over the whole text."""
        return [Finding("toxicity.likely", 0, len(seen.text))] if seen.toxicity >= options.threshold else []

    return find
