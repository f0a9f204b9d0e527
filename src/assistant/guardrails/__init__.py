"""Guardrails of this project: one file each, with the decorator `check`."""
