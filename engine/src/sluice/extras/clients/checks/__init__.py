"""A check of the form of an answer: the registry in guardrails/check.py finds it here."""
