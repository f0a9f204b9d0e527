"""Hybrid search: vectors and full text in one statement, joined by reciprocal rank fusion.

The fused score of a chunk is the sum over both lists of 1 / (60 + rank) (Cormack, Clarke and Buettcher, 2009).
Full text asks for any of the question's words: a question rarely has all of its words in one passage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import class_row

from sluice.retrieval.collections import ensure_collection, hold
from sluice.retrieval.connections import Connections, connected, open_pool
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.passages import Hit
from sluice.retrieval.stores import Stores, open_store

if TYPE_CHECKING:
    import psycopg
    from langchain_core.retrievers import BaseRetriever

_CANDIDATES = 20
_MOST_SCANNED = 1_000_000  # chunks of other tenants that a scan passes over before it gives up
_LONGEST = 2000  # characters of the question for full text; PostgreSQL gives up on thousands of words

# In both lists, before their LIMIT: another tenant's chunks must neither be found nor take the place of others.
_VISIBLE = "(tenant IS NULL OR tenant = %(tenant)s::text)"

# The vector stands in the statement itself: taken from `asked`, the vector index would not be used. `asked` is
# materialised, or a prepared statement would make the query of words anew for every chunk.
_SEARCH = """
WITH asked AS MATERIALIZED (
    SELECT replace(plainto_tsquery('english', %(question)s)::text, '&', '|')::tsquery AS words
), near AS (
    SELECT id, row_number() OVER (ORDER BY distance, id) AS rank
    FROM (
        SELECT id, embedding <=> %(vector)s::vector AS distance FROM {table} WHERE {visible}
        ORDER BY embedding <=> %(vector)s::vector LIMIT %(candidates)s
    ) AS nearest
), matching AS (
    SELECT id, row_number() OVER (ORDER BY ts_rank_cd(t.words, asked.words) DESC, id) AS rank
    FROM {table} t, asked WHERE t.words @@ asked.words AND {visible}
    ORDER BY ts_rank_cd(t.words, asked.words) DESC, id LIMIT %(candidates)s
), fused AS (
    SELECT id, sum(1.0 / (60 + rank)) AS score
    FROM (SELECT id, rank FROM near UNION ALL SELECT id, rank FROM matching) AS ranked
    GROUP BY id
)
SELECT t.id AS chunk_id, t.doc_id, t.title, t.text, t.start, fused.score::float8 AS score,
       1 - (t.embedding <=> %(vector)s::vector) AS similarity
FROM fused JOIN {table} t USING (id) ORDER BY fused.score DESC, t.id LIMIT %(k)s
"""


class Retriever:
    """Searches one collection. Thread-safe: each search takes a connection from the pool."""

    def __init__(self, pool: Connections, collection: str, embedder: Embedder) -> None:
        self._pool = pool
        self.embedder = embedder
        statement = sql.SQL(_SEARCH).format(table=sql.Identifier(collection), visible=sql.SQL(_VISIBLE))
        self._statement = statement.as_string().encode()

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """The `k` best chunks, best first, of those for everybody and of `tenant`'s own. RetrievalError when the store
        does not answer in time."""
        # PostgreSQL takes no NUL, and UTF-8 no lone surrogate.
        question = question.encode("utf-8", "replace").decode().replace("\x00", " ")
        values = {
            "vector": self.embedder.embed([question])[0],
            "question": question[:_LONGEST],
            "candidates": max(_CANDIDATES, k),
            "k": k,
            "tenant": tenant,
        }
        with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Hit)) as cursor:
            return cursor.execute(self._statement, values).fetchall()

    def as_langchain(self, *, k: int, tenant: str | None = None) -> BaseRetriever:
        """The same search as a LangChain retriever, for chains of one's own."""
        from langchain_core.callbacks import CallbackManagerForRetrieverRun
        from langchain_core.documents import Document
        from langchain_core.retrievers import BaseRetriever

        search = self.search

        class PassageRetriever(BaseRetriever):
            def _get_relevant_documents(
                self,
                query: str,
                *,
                run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the base class names it
            ) -> list[Document]:
                return [
                    Document(
                        page_content=hit.text,
                        id=hit.chunk_id,
                        metadata={"doc_id": hit.doc_id, "title": hit.title, "score": hit.score},
                    )
                    for hit in search(query, k=k, tenant=tenant)
                ]

        return PassageRetriever()


def _configure(connection: psycopg.Connection, *, collection: str) -> None:
    """For every connection of the pool. An index scan goes on until enough visible chunks are found, in exact order;
    by default it would look at the 40 nearest and filter those."""
    from pgvector.psycopg import register_vector

    register_vector(connection)
    hold(connection, collection)
    connection.execute("SET hnsw.iterative_scan = strict_order")
    connection.execute(f"SET hnsw.max_scan_tuples = {_MOST_SCANNED}")


@contextmanager
def open_retriever(index: Path, embedder: Embedder, stores: Stores, state: Path) -> Iterator[Retriever]:
    """A retriever over the index files in `index`; their collection is loaded into the default store if missing."""
    seconds = stores.chosen.timeout_seconds
    with open_store(stores.chosen, state) as address:
        with connected(stores, address) as connection:
            info = ensure_collection(connection, index)
        configure = partial(_configure, collection=info.collection)
        with open_pool(address, seconds=seconds, configure=configure) as pool:
            connections = Connections(pool, seconds)
            try:
                yield Retriever(connections, info.collection, embedder)
            finally:
                connections.close()
