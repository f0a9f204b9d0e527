"""Checks of model input and output: one file for each check, run through guardrails-ai.

Imports no check and no library: who trains the guard model does not run the checks.
"""

from sluice.guardrails import library  # noqa: F401 - before anybody imports guardrails-ai
