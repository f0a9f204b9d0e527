"""Checks by the guard model: the registry in guardrails/check.py finds them here."""
