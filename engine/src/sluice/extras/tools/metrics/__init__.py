"""Metrics of calls of tools."""
