"""Checks of what goes into the model and what comes out: one file per check, run through guardrails-ai.

Imports nothing: who trains the guard model does not run the checks.
"""
