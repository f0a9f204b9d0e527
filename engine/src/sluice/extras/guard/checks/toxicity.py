"""Insults and obscene language, by the linear model of alt-profanity-check: engine/docs/reference/metrics.md has
figures."""

from __future__ import annotations

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import WHOLE, Check, Finding, check
from sluice.guardrails.context import CheckContext, CheckResources


class ToxicityOptions(Settings):
    threshold: float = Field(0.9, gt=0, lt=1, description="probability from which a text is toxic")


@check
class ToxicityCheck(Check):
    name = "toxicity"
    options_model = ToxicityOptions
    actions = WHOLE
    needs_model = True

    def __init__(self, options: ToxicityOptions, resources: CheckResources) -> None:
        super().__init__(options, resources)
        resources.require_model("toxicity")

    def find(self, context: CheckContext) -> list[Finding]:
        """At most one finding, over the whole text."""
        likely = context.toxicity >= self.options.threshold
        return [Finding("toxicity.likely", 0, len(context.text))] if likely else []
