"""Checks of model input and output: one file for each check, run through guardrails-ai.

Imports nothing: who trains the guard model does not run the checks.
"""
