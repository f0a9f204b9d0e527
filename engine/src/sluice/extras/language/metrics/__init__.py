"""Metrics by detected languages: the registry in evaluation/registry.py finds them here."""
