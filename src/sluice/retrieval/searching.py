"""The SQL of a search: vectors, full text, or both, over the one or two tables of a collection.

Hybrid: the best of both lists are joined by reciprocal rank fusion; the score of a chunk is the sum over the lists of
1 / (60 + rank) (Cormack, Clarke and Buettcher, 2009). Full text asks for any of the question's words: a question rarely
has all of its words in one passage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sluice.retrieval.tables import Description

Mode = Literal["hybrid", "vectors", "text"]

# In both lists, before their LIMIT: another tenant's chunks must neither be found nor take the place of others.
_VISIBLE = "(t.tenant IS NULL OR t.tenant = %(tenant)s::text)"
_OF_DOCUMENTS = " AND t.doc_id = ANY(%(documents)s::text[])"
_HIT = "t.id AS chunk_id, t.doc_id, t.title, t.text, t.start"

# The vector stands in the statement itself: taken from `asked`, the vector index would not be used.
_DISTANCE = "t.embedding <=> %(vector)b::{kind}"
_NEAR_OF = "SELECT {columns}, {distance} AS distance FROM {table} t WHERE {seen} ORDER BY {distance} LIMIT {limit}"
_RANK = "ts_rank_cd(t.words, asked.words)"
_MATCHING_OF = (
    "SELECT {columns}, {rank} AS rank FROM {table} t, asked WHERE t.words @@ asked.words AND {seen}"
    " ORDER BY {rank} DESC, t.id LIMIT {limit}"
)
# Materialised, or a prepared statement would make the query of words anew for every chunk.
_ASKED = """WITH asked AS MATERIALIZED (
    SELECT replace(plainto_tsquery('english', %(question)s)::text, '&', '|')::tsquery AS words
)"""
_VECTORS = """
SELECT chunk_id, doc_id, title, text, start, 1 - distance AS score, 1 - distance AS similarity
FROM ({near}) AS near ORDER BY distance, chunk_id LIMIT %(k)s
"""
_TEXT = """{asked}
SELECT chunk_id, doc_id, title, text, start, rank::float8 AS score, 1 - ({distance}) AS similarity
FROM ({matching}) AS t ORDER BY rank DESC, chunk_id LIMIT %(k)s
"""
_HYBRID = """{asked}, near AS (
    SELECT id, row_number() OVER (ORDER BY distance, id) AS rank
    FROM (SELECT * FROM ({near}) AS both_near ORDER BY distance LIMIT %(candidates)s) AS nearest
), matching AS (
    SELECT id, row_number() OVER (ORDER BY rank DESC, id) AS rank
    FROM (SELECT * FROM ({matching}) AS both_match ORDER BY rank DESC, id LIMIT %(candidates)s) AS best
), fused AS (
    SELECT id, sum(1.0 / (60 + rank)) AS score
    FROM (SELECT id, rank FROM near UNION ALL SELECT id, rank FROM matching) AS ranked
    GROUP BY id
)
SELECT * FROM ({hits}) AS hits ORDER BY score DESC, chunk_id LIMIT %(k)s
"""
_HITS_OF = (
    "SELECT {hit}, fused.score::float8 AS score, 1 - ({distance}) AS similarity"
    " FROM fused JOIN {table} t USING (id) WHERE {present}"
)


@dataclass(frozen=True)
class Part:
    """A table, and the condition for a row `t` of it to be in the collection."""

    table: str
    present: str = "true"


def parts_of(collection: str, description: Description | None) -> tuple[Part, ...]:
    if description is None or description.base is None:
        return (Part(collection),)
    replaced = sql.SQL("NOT EXISTS (SELECT FROM {} d WHERE d.id = t.id)").format(sql.Identifier(collection))
    return Part(description.base, replaced.as_string()), Part(collection, "t.embedding IS NOT NULL")


def statement(parts: Sequence[Part], kind: str, mode: Mode, *, of_documents: bool) -> bytes:
    """For the values vector, question, candidates, k, tenant and, `of_documents`, documents. `kind`: the type of the
    vectors' column."""
    distance = _DISTANCE.format(kind=kind)
    seen = _VISIBLE + (_OF_DOCUMENTS if of_documents else "")

    def union(template: str, **more: str) -> str:
        pieces = []
        for part in parts:
            table = sql.Identifier(part.table).as_string()
            pieces.append(
                template.format(
                    table=table, seen=f"{seen} AND {part.present}", present=part.present, distance=distance, **more
                )
            )
        return pieces[0] if len(pieces) == 1 else " UNION ALL ".join(f"({piece})" for piece in pieces)

    if mode == "vectors":
        return _VECTORS.format(near=union(_NEAR_OF, columns=_HIT, limit="%(k)s")).encode()
    if mode == "text":
        columns = f"{_HIT}, t.embedding, t.id"
        matching = union(_MATCHING_OF, columns=columns, rank=_RANK, limit="%(k)s")
        return _TEXT.format(asked=_ASKED, matching=matching, distance=distance).encode()
    return _HYBRID.format(
        asked=_ASKED,
        near=union(_NEAR_OF, columns="t.id", limit="%(candidates)s"),
        matching=union(_MATCHING_OF, columns="t.id", rank=_RANK, limit="%(candidates)s"),
        hits=union(_HITS_OF, hit=_HIT),
    ).encode()
