"""From a question to passages: embedder, chunker, versioned index, PostgreSQL store with hybrid search."""

from sluice.retrieval.connections import RetrievalError
from sluice.retrieval.passages import Hit, format_passages

__all__ = ["Hit", "RetrievalError", "format_passages"]
