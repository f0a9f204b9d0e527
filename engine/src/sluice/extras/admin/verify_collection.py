"""Verifies a collection against its description, and its search against an exact scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import Chunk, digest_of_index, starts
from sluice.retrieval.postgres_collections import TableDescription, contents, require_description
from sluice.retrieval.retriever import Asked, SearchStatements, configure
from sluice.retrieval.stores import VectorSettings

if TYPE_CHECKING:
    import psycopg


_K = 10
_NOISE = 0.5  # a question is not one of the stored vectors: it lies beside one, by this much of its length
_SEED = 7


@dataclass(frozen=True)
class CollectionVerification:
    chunks: int
    faults: tuple[str, ...]
    recall: float
    questions: int


def verify(
    connection: psycopg.Connection[Any],
    collection: str,
    *,
    questions: int = 100,
    vectors: VectorSettings | None = None,
) -> CollectionVerification:
    description = require_description(connection, collection)
    configure(connection, vectors=vectors or description.vectors)
    chunks, stored, faults = _read(connection, description)
    asked = min(questions, len(chunks))
    searches = SearchStatements(connection, collection)
    recall = _recall(connection, searches, _questions(chunks, stored, asked)) if asked else 0.0
    return CollectionVerification(len(chunks), tuple(faults), recall, asked)


def _read(connection: psycopg.Connection[Any], description: TableDescription) -> tuple[list[Chunk], Vectors, list[str]]:
    """Return the chunks, their vectors, and what is wrong with them."""
    info, faults = description.index, []
    statement = sql.SQL(
        "SELECT id, doc_id, title, text, tenant, start, content, embedding::vector FROM {}"
        ' ORDER BY doc_id COLLATE "C", start'
    )
    rows = connection.execute(statement.format(sql.Identifier(info.collection)), binary=True).fetchall()
    chunks = [Chunk(id=row[0], doc_id=row[1], title=row[2], text=row[3], tenant=row[4]) for row in rows]
    if len(chunks) != info.chunks:
        faults.append(f"{len(chunks)} chunks, index.json says {info.chunks}")
    if (documents := len({chunk.doc_id for chunk in chunks})) > info.documents:
        faults.append(f"chunks of {documents} documents, index.json says {info.documents}")
    digest = digest_of_index(info.embedder, info.chunker, [chunk.row() for chunk in chunks])
    if digest != info.digest:
        faults.append(f"the chunks' digest is {digest[:16]}…, its name and index.json say {info.digest[:16]}…")
    wrong = [
        chunk.id
        for chunk, row, place, content in zip(chunks, rows, starts(chunks), contents(chunks), strict=True)
        if (place, content) != (row[5], row[6])
    ]
    if wrong:
        faults.append(f"{len(wrong)} chunks are not what was loaded, such as {wrong[0]}")
    vectors = np.asarray([row[7] for row in rows], dtype=np.float32).reshape(len(chunks), -1)
    odd = np.flatnonzero(~(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 0.01))
    if len(odd):
        faults.append(f"{len(odd)} vectors are not of length 1, such as that of {chunks[odd[0]].id}")
    return chunks, vectors, faults


def _questions(chunks: list[Chunk], vectors: Vectors, number: int) -> list[Asked]:
    """Return reproducible questions beside stored vectors, each asked by the tenant of its vector."""
    places = np.random.default_rng(_SEED).choice(len(chunks), size=number, replace=False)
    noise = np.random.default_rng(_SEED).normal(size=(number, vectors.shape[1]))
    beside = vectors[places] + _NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    beside = (beside / np.linalg.norm(beside, axis=1, keepdims=True)).astype(np.float32)
    return [{"vector": vector, "tenant": chunks[place].tenant} for vector, place in zip(beside, places, strict=True)]


def _recall(connection: psycopg.Connection[Any], searches: SearchStatements, questions: list[Asked]) -> float:
    """Return the mean share of the exact best ten that the search finds."""
    shares = []
    for question in questions:
        found = _best(connection, searches, question)
        with connection.transaction():
            connection.execute("SET LOCAL enable_indexscan = off")
            # Else the plan that the prepared statement already has, with the index, would be taken again.
            connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            exact = _best(connection, searches, question)
        shares.append(len(found & exact) / max(1, len(exact)))
    return float(np.mean(shares))


def _best(connection: psycopg.Connection[Any], searches: SearchStatements, question: Asked) -> set[str]:
    return {hit.chunk_id for hit in searches.run(connection, question, k=_K, mode="vectors")}
