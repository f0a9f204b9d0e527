"""Checks of what goes into the model and what comes out: one file per check, run through guardrails-ai."""

from sluice.guardrails.guards import Guards, Outcome
from sluice.guardrails.settings import CheckSettings, GuardrailSettings

__all__ = ["CheckSettings", "GuardrailSettings", "Guards", "Outcome"]
