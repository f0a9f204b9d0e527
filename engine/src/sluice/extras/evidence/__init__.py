"""Sentences in place of passages, for a small model."""
