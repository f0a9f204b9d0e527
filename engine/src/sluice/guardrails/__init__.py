"""Checks of what goes into the model and what comes out: one file per check, run through guardrails-ai."""

from sluice.guardrails.context import CheckResources
from sluice.guardrails.guards import BROKEN, Guards, Outcome
from sluice.guardrails.settings import CheckSettings, GuardrailSettings

__all__ = ["BROKEN", "CheckResources", "CheckSettings", "GuardrailSettings", "Guards", "Outcome"]
