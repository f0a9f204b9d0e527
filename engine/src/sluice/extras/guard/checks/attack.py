"""Attacks that have no fixed form, by the trained guard model: it has read many, and generalises from them."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import WHOLE, Check, Finding, check
from sluice.guardrails.context import CheckContext, CheckResources


class AttackOptions(Settings):
    threshold: float | None = Field(
        None, gt=0, lt=1, description="probability from which a text is an attack; default: the model's own"
    )


@check
class AttackCheck(Check):
    name = "attack"
    options_model = AttackOptions
    actions = WHOLE
    needs_model = True
    needs_embedder = True

    def __init__(self, options: AttackOptions, resources: CheckResources) -> None:
        super().__init__(options, resources)
        self._threshold = options.threshold or resources.require_model("attack").threshold
        resources.require_embed("attack")

    def find(self, context: CheckContext) -> list[Finding]:
        """At most one finding, over the whole text."""
        likely = context.attack >= self._threshold
        return [Finding("attack.likely", 0, len(context.text))] if likely else []
