"""Retrieval: embedder, chunker, versioned index, PostgreSQL store with hybrid search."""

from sluice.retrieval.passages import Hit, format_history, format_passages
from sluice.retrieval.postgres_connections import RetrievalError

__all__ = ["Hit", "RetrievalError", "format_history", "format_passages"]
