"""Metrics by the libraries of the guard: the registry in evaluation/registry.py finds them here."""
