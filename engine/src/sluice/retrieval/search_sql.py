"""SQL of a search by vectors, full text or both, over the one or two tables of a collection.

Hybrid: the best of both lists together; the score of a chunk is its cosine and a share of its full-text rank over the
best one (a convex combination: Bruch, Gai and Ingber, 2023). Full text asks for any of the question's words: a question
rarely has all of its words in one passage. A chunk ranks by those it has, each of which weighs the more the fewer
chunks have it (inverse document frequency: Spärck Jones, 1972). PostgreSQL's own ranking knows no such weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sluice.retrieval.collection_tables import TableDescription, bits, words_of

Mode = Literal["hybrid", "vectors", "text"]

_CANDIDATES = 20  # of each list, or more where more is asked for
_WEIGHT_OF_TEXT = 0.3  # chosen on training questions: engine/docs/reference/retrieval.md

# In both lists, before their LIMIT: another tenant's chunks must neither be found nor displace others.
_VISIBLE = "(t.tenant IS NULL OR t.tenant = %(tenant)s::text)"
_OF_DOCUMENTS = " AND t.doc_id = ANY(%(documents)s::text[])"
_HIT = "t.id AS chunk_id, t.doc_id, t.title, t.text, t.start"

# The vector stands in the statement itself: taken from `asked`, the vector index would not be used.
_DISTANCE = "t.embedding <=> %(vector)b::{kind}"
_NEAR_OF = "SELECT {columns}, {distance} AS distance FROM {rows} ORDER BY {distance} LIMIT {limit}"
_ROWS = "{table} t WHERE {seen}"
# Bits are a rough measure: more are taken by them than are asked for, and those are then ranked by their vectors.
_ROWS_BY_BITS = "(SELECT * FROM {table} t WHERE {seen} ORDER BY {bits} <~> {asked} LIMIT {most}) AS t"
_FOUND_OF = "SELECT asked.number, t.id FROM asked JOIN {words} t ON t.words @@ asked.word WHERE {seen}"
# The question's words, each as a query that the index of words answers without a look at the chunk. How rare one is
# counts among the chunks that may be found, so that no tenant's ranks tell what another one has. Weights are
# thousandths: sums of whole numbers are the same in every order.
_MATCHING = """WITH asked AS MATERIALIZED (
    SELECT row_number() OVER () AS number, word::tsquery AS word
    FROM (
        SELECT DISTINCT unnest(string_to_array(plainto_tsquery('english', %(question)s)::text, ' & ')) AS word
    ) AS each
), found AS MATERIALIZED (
    {found}
), weighed AS (
    SELECT number, (1000 * ln(1 + sum(count(*)) OVER () / count(*)))::int AS weight FROM found GROUP BY number
), matching AS (
    SELECT id, sum(weight)::float8 AS rank FROM found JOIN weighed USING (number) GROUP BY id
    ORDER BY rank DESC, id LIMIT {limit}
)"""
_VECTORS = """
SELECT chunk_id, doc_id, title, text, start, 1 - distance AS score, 1 - distance AS similarity
FROM ({near}) AS near ORDER BY distance, chunk_id LIMIT {k}
"""
_TEXT = """{matching}, fused AS (SELECT id, rank AS score FROM matching)
SELECT * FROM ({hits}) AS hits ORDER BY score DESC, chunk_id LIMIT {k}
"""
_HYBRID = """{matching}, near AS (
    SELECT id FROM ({near}) AS both_near ORDER BY distance LIMIT {candidates}
), fused AS (
    SELECT id, coalesce(rank / max(rank) OVER (), 0) AS share FROM near FULL JOIN matching USING (id)
)
SELECT * FROM ({hits}) AS hits ORDER BY score DESC, chunk_id LIMIT {k}
"""
_HITS_OF = (
    "SELECT {hit}, ({score})::float8 AS score, 1 - ({distance}) AS similarity"
    " FROM fused JOIN {table} t USING (id) WHERE {present}"
)


@dataclass(frozen=True)
class SearchedTable:
    """A collection's own tables, and the conditions for a row `t` of the chunks or of the words to be in it."""

    collection: str
    chunks: str = "true"
    words: str = "true"


def parts_of(description: TableDescription) -> tuple[SearchedTable, ...]:
    own = description.index.collection
    if description.base is None:
        return (SearchedTable(own),)
    seen = f" AND {_VISIBLE.replace('t.', 'd.')}" if description.partition_by else ""
    table = sql.Identifier(own).as_string()
    replaced = f"NOT EXISTS (SELECT FROM {table} d WHERE d.id = t.id{seen})"
    return SearchedTable(description.base, replaced, replaced), SearchedTable(own, "t.embedding IS NOT NULL")


def statement(
    description: TableDescription,
    mode: Mode,
    *,
    k: int,
    of_documents: bool,
    by_bits: frozenset[str] = frozenset(),
    oversampling: int = 1,
) -> bytes:
    """For the values vector, question, tenant and, `of_documents`, documents. `by_bits`: the tables whose vector index
    holds bits; it is asked for `oversampling` times as many.

    `k` stands in the statement itself: with a LIMIT that PostgreSQL does not know it would plan each search anew."""
    candidates = max(_CANDIDATES, k)
    kind = "vector::halfvec" if description.vectors.precision == "half" else "vector"
    distance = _DISTANCE.format(kind=kind)
    dimension = description.index.dimension
    near_by = {"bits": bits("t.embedding", dimension), "asked": bits(f"%(vector)b::{kind}", dimension)}
    visible = _VISIBLE + (_OF_DOCUMENTS if of_documents else "")

    def piece(template: str, part: SearchedTable, limit: int, more: dict[str, str]) -> str:
        table = sql.Identifier(part.collection).as_string()
        rows = _ROWS_BY_BITS if part.collection in by_bits else _ROWS
        return template.format(
            table=table,
            words=sql.Identifier(words_of(part.collection)).as_string(),
            rows=rows.format(table=table, seen=f"{visible} AND {part.chunks}", most=limit * oversampling, **near_by),
            seen=f"{visible} AND {part.words}",
            # Of a collection that is cut this too says which partitions are looked into.
            present=f"{part.chunks} AND {_VISIBLE}" if description.partition_by else part.chunks,
            distance=distance,
            limit=limit,
            **more,
        )

    def union(template: str, limit: int = 0, **more: str) -> str:
        pieces = [piece(template, part, limit, more) for part in parts_of(description)]
        return pieces[0] if len(pieces) == 1 else " UNION ALL ".join(f"({piece})" for piece in pieces)

    def matching(limit: int) -> str:
        return _MATCHING.format(found=union(_FOUND_OF), limit=limit)

    if mode == "vectors":
        return _VECTORS.format(k=k, near=union(_NEAR_OF, k, columns=_HIT)).encode()
    if mode == "text":
        hits = union(_HITS_OF, hit=_HIT, score="fused.score")
        return _TEXT.format(k=k, matching=matching(k), hits=hits).encode()
    return _HYBRID.format(
        k=k,
        candidates=candidates,
        matching=matching(candidates),
        near=union(_NEAR_OF, candidates, columns="t.id"),
        hits=union(_HITS_OF, hit=_HIT, score=f"1 - ({distance}) + {_WEIGHT_OF_TEXT} * fused.share"),
    ).encode()
