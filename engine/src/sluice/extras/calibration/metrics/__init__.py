"""Metrics of the judge: the registry in evaluation/registry.py finds them here."""
