"""Verifies a collection: its contents against its description, its search against an exact scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from sluice.extras.admin.search_recall import questions_beside, sample, scan, search, share
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import Chunk, digest_of_index, starts
from sluice.retrieval.postgres_collections import TableDescription, contents, require_description
from sluice.retrieval.retriever import SearchStatements, configure
from sluice.retrieval.stores import VectorSettings

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class CollectionVerification:
    """`faults`: what is not as it should be, a line each. `recall`: recall@10 of `questions` against an exact scan."""

    collection: str
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
    """Reads the whole collection, and searches it."""
    description = require_description(connection, collection)
    configure(connection, vectors=vectors or description.vectors)
    chunks, faults = _chunks(connection, description)
    stored = _vectors(connection, description, chunks, faults)
    asked = min(questions, len(chunks))
    searches = SearchStatements(connection, collection)
    recall = _recall(connection, searches, chunks, stored, asked) if asked else 0.0
    return CollectionVerification(collection, len(chunks), tuple(faults), recall, asked)


def _chunks(connection: psycopg.Connection[Any], description: TableDescription) -> tuple[list[Chunk], list[str]]:
    info, faults = description.index, []
    rows = connection.execute(
        sql.SQL(
            'SELECT id, doc_id, title, text, tenant, start, content FROM {} ORDER BY doc_id COLLATE "C", start'
        ).format(sql.Identifier(description.index.collection))
    ).fetchall()
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
    return chunks, faults


def _vectors(
    connection: psycopg.Connection[Any], description: TableDescription, chunks: list[Chunk], faults: list[str]
) -> Vectors:
    """Those of the chunks, in their order."""
    rows = connection.execute(
        sql.SQL('SELECT embedding::vector FROM {} ORDER BY doc_id COLLATE "C", start').format(
            sql.Identifier(description.index.collection)
        ),
        binary=True,
    )
    vectors = np.asarray([row[0] for row in rows], dtype=np.float32).reshape(len(chunks), -1)
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 0.01))
    if len(wrong):
        faults.append(f"{len(wrong)} vectors are not of length 1, such as that of {chunks[wrong[0]].id}")
    return vectors


def _recall(
    connection: psycopg.Connection[Any],
    searches: SearchStatements,
    chunks: list[Chunk],
    vectors: Vectors,
    asked: int,
) -> float:
    """The share of the exact best ten that the search finds, over questions that lie beside stored vectors."""
    places = sample(len(chunks), asked)
    questions = questions_beside(vectors[places], [chunks[place].tenant for place in places])
    return float(
        np.mean([share(search(connection, searches, each), scan(connection, searches, each)) for each in questions])
    )
