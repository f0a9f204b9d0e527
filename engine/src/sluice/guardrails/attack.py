"""Attacks that have no fixed form, by the trained guard model: it has read many, and generalises from them."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import Find, Finding
from sluice.guardrails.seen import Kit, Seen


class Options(Settings):
    threshold: float | None = Field(
        None, gt=0, lt=1, description="probability from which a text is an attack; default: the model's own"
    )


def make(options: Options, kit: Kit) -> Find:
    threshold = options.threshold or kit.require_model("attack").threshold
    kit.require_embed("attack")

    def find(seen: Seen) -> list[Finding]:
        """At most one finding, over the whole text."""
        return [Finding("attack.likely", 0, len(seen.text))] if seen.attack >= threshold else []

    return find
