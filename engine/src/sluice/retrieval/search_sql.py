"""SQL of a search by vectors, full text or both, over the tables of a collection.

Hybrid: the best of both lists together; the score of a chunk is its cosine and a share of its full-text rank over the
best one (a convex combination: Bruch, Gai and Ingber, 2023). Full text asks for any of the question's words: a question
rarely has all of its words in one passage. A chunk ranks by those it has, each of which weighs the more the fewer
chunks have it (inverse document frequency: Spärck Jones, 1972). PostgreSQL's own ranking knows no such weights.
"""

from __future__ import annotations

from typing import Literal

from psycopg import sql

from sluice.retrieval.postgres_collections import TableDescription, words_of

Mode = Literal["hybrid", "vectors", "text"]

_CANDIDATES = 20  # of each list, or more where more is asked for
_WEIGHT_OF_TEXT = 0.3  # chosen on training questions: engine/docs/reference/retrieval.md

# In both lists, before their LIMIT: another tenant's chunks must neither be found nor displace others.
_VISIBLE = "(t.tenant IS NULL OR t.tenant = %(tenant)s::text)"
_OF_DOCUMENTS = " AND t.doc_id = ANY(%(documents)s::text[])"
_HIT = "t.id AS chunk_id, t.doc_id, t.title, t.text, t.start"

# The vector stands in the statement itself: taken from `asked`, the vector index would not be used.
_DISTANCE = "t.embedding <=> %(vector)b::{kind}"
_NEAR = "SELECT {columns}, {distance} AS distance FROM {table} t WHERE {visible} ORDER BY {distance} LIMIT {limit}"
# The question's words, each as a query that the index of words answers without a look at the chunk. How rare one is
# counts among the chunks that may be found, so that no tenant's ranks tell what another one has. Weights are
# thousandths: sums of whole numbers are the same in every order.
_MATCHING = """WITH asked AS MATERIALIZED (
    SELECT row_number() OVER () AS number, word::tsquery AS word
    FROM (
        SELECT DISTINCT unnest(string_to_array(plainto_tsquery('english', %(question)s)::text, ' & ')) AS word
    ) AS each
), found AS MATERIALIZED (
    SELECT asked.number, t.id FROM asked JOIN {words} t ON t.words @@ asked.word WHERE {visible}
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
_TEXT = """{matching}, fused AS (SELECT id, rank FROM matching)
{hits} ORDER BY score DESC, chunk_id LIMIT {k}
"""
_HYBRID = """{matching}, near AS (
    {near}
), fused AS (
    SELECT id, coalesce(rank / max(rank) OVER (), 0) AS share FROM near FULL JOIN matching USING (id)
)
{hits} ORDER BY score DESC, chunk_id LIMIT {k}
"""
_HITS = "SELECT {hit}, ({score})::float8 AS score, 1 - ({distance}) AS similarity FROM fused JOIN {table} t USING (id)"


def statement(description: TableDescription, mode: Mode, *, k: int, of_documents: bool) -> bytes:
    """For the values vector, question, tenant and, `of_documents`, documents.

    `k` stands in the statement itself: with a LIMIT that PostgreSQL does not know it would plan each search anew."""
    candidates = max(_CANDIDATES, k)
    distance = _DISTANCE.format(kind="vector::halfvec" if description.vectors.precision == "half" else "vector")
    named = {
        "table": sql.Identifier(description.index.collection).as_string(),
        "words": sql.Identifier(words_of(description.index.collection)).as_string(),
        "visible": _VISIBLE + (_OF_DOCUMENTS if of_documents else ""),
        "distance": distance,
    }
    if mode == "vectors":
        return _VECTORS.format(k=k, near=_NEAR.format(columns=_HIT, limit=k, **named)).encode()
    if mode == "text":
        matching, hits = _MATCHING.format(limit=k, **named), _HITS.format(hit=_HIT, score="fused.rank", **named)
        return _TEXT.format(k=k, matching=matching, hits=hits).encode()
    return _HYBRID.format(
        k=k,
        matching=_MATCHING.format(limit=candidates, **named),
        near=_NEAR.format(columns="t.id", limit=candidates, **named),
        hits=_HITS.format(hit=_HIT, score=f"1 - ({distance}) + {_WEIGHT_OF_TEXT} * fused.share", **named),
    ).encode()
