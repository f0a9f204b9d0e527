"""Groundedness: whether the passages support an answer."""
