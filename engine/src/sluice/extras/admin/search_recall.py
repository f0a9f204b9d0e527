"""Recall of a search against an exact scan, over questions close to a collection's own vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.retrieval import Hit
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.retriever import Asked, SearchStatements

if TYPE_CHECKING:
    import psycopg

K = 10
_NOISE = 0.5  # a question is not one of the stored vectors: it lies beside one, by this much of its length
_SEED = 7


def sample(chunks: int, questions: int) -> list[int]:
    """Places of the chunks that are asked about, always the same."""
    rng = np.random.default_rng(_SEED)
    return [int(place) for place in rng.choice(chunks, size=min(questions, chunks), replace=False)]


def questions_beside(vectors: Vectors, tenants: Sequence[str | None]) -> list[Asked]:
    """A question beside each of the vectors, asked by the tenant whose it is; always the same."""
    rng = np.random.default_rng(_SEED)
    noise = rng.normal(size=vectors.shape)
    beside = vectors + _NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    beside = (beside / np.linalg.norm(beside, axis=1, keepdims=True)).astype(np.float32)
    return [{"vector": vector, "tenant": tenant} for vector, tenant in zip(beside, tenants, strict=True)]


def search(connection: psycopg.Connection[Any], searches: SearchStatements, asked: Asked) -> set[str]:
    """Ids of the best ten, as a service finds them."""
    return _ids(searches.run(connection, asked, k=K, mode="vectors"))


def scan(connection: psycopg.Connection[Any], searches: SearchStatements, asked: Asked) -> set[str]:
    """Ids of the best ten of all vectors."""
    with connection.transaction():
        connection.execute("SET LOCAL enable_indexscan = off")
        # Else the plan that the prepared statement already has, with the index, would be taken again.
        connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        return _ids(searches.run(connection, asked, k=K, mode="vectors"))


def _ids(hits: Sequence[Hit]) -> set[str]:
    return {hit.chunk_id for hit in hits}


def share(found: set[str], exact: set[str]) -> float:
    """Recall: how much of `exact` is found."""
    return len(found & exact) / max(1, len(exact))
