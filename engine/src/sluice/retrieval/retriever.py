"""The search for passages in PostgreSQL with pgvector, as LangChain retrievers.

Hybrid: the score of a chunk is its cosine and a share of its full-text rank over the best one (a convex combination:
Bruch, Gai and Ingber, 2023). A question rarely has all of its words in one passage, so a chunk ranks by those it has,
each weighed by its inverse document frequency (Spärck Jones, 1972), which PostgreSQL's own ranking doesn't know.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from psycopg import sql
from psycopg.rows import class_row
from pydantic import SkipValidation

from sluice.core.errors import SluiceError
from sluice.retrieval import Hit
from sluice.retrieval.index_files import TextEncoder, read_info
from sluice.retrieval.postgres_collections import (
    TableDescription,
    ensure_collection,
    hold,
    list_collections,
    require_description,
    words_of,
)
from sluice.retrieval.postgres_connections import BoundedPool, connected
from sluice.retrieval.stores import Stores, VectorSettings, open_store, reviver

if TYPE_CHECKING:
    import psycopg


_METADATA = ("doc_id", "title", "score", "similarity", "start")


class Retriever(BaseRetriever):
    """Searches one collection. Thread-safe. `invoke` takes `k` and `tenant` by name."""

    embedder: SkipValidation[TextEncoder]
    k: int = 4

    @abstractmethod
    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """Search the chunks for everybody and the tenant's own."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the base class names it
        k: int | None = None,
        tenant: str | None = None,
    ) -> list[Document]:
        return documents_of(self.search(query, k=k or self.k, tenant=tenant))


def documents_of(hits: Sequence[Hit]) -> list[Document]:
    return [
        Document(hit.text, id=hit.chunk_id, metadata={name: getattr(hit, name) for name in _METADATA}) for hit in hits
    ]


Mode = Literal["hybrid", "vectors", "text"]

_CANDIDATES = 20  # of each list, or more where more is asked for
_WEIGHT_OF_TEXT = 0.3  # chosen on training questions: engine/docs/reference/retrieval.md

# In both lists, before their LIMIT: another tenant's chunks must neither be found nor displace others.
_VISIBLE = "(t.tenant IS NULL OR t.tenant = %(tenant)s::text)"
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


def _statement(description: TableDescription, mode: Mode, k: int) -> bytes:
    """Return the SQL. `k` stands in it: with a LIMIT it doesn't know, PostgreSQL would plan each search anew."""
    candidates = max(_CANDIDATES, k)
    distance = _DISTANCE.format(kind="vector::halfvec" if description.vectors.precision == "half" else "vector")
    named = {
        "table": sql.Identifier(description.index.collection).as_string(),
        "words": sql.Identifier(words_of(description.index.collection)).as_string(),
        "visible": _VISIBLE,
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


_MOST_SCANNED = 1_000_000  # chunks of other tenants that a scan passes over before it gives up
_LONGEST = 2000  # characters of the question for full text; PostgreSQL gives up on thousands of words
Asked = dict[str, Any]  # the values of a statement


class SearchStatements:
    """The statements for one collection; SluiceError when it was loaded by older code."""

    def __init__(self, connection: psycopg.Connection[Any], collection: str) -> None:
        self._statement = cache(partial(_statement, require_description(connection, collection)))

    def run(self, connection: psycopg.Connection[Any], asked: Asked, *, k: int, mode: Mode = "hybrid") -> list[Hit]:
        with connection.cursor(binary=True, row_factory=class_row(Hit)) as cursor:
            return cursor.execute(self._statement(mode, k), asked, prepare=True).fetchall()


class PostgresRetriever(Retriever):
    _pool: BoundedPool
    _searches: SearchStatements

    def __init__(self, pool: BoundedPool, searches: SearchStatements, embedder: TextEncoder) -> None:
        super().__init__(embedder=embedder)
        self._pool = pool
        self._searches = searches

    def search(self, question: str, *, k: int, tenant: str | None = None, mode: Mode = "hybrid") -> list[Hit]:
        """Return the `k` best chunks, best first; RetrievalError when the store doesn't answer in time."""
        # PostgreSQL takes no NUL, and UTF-8 no lone surrogate.
        question = question.encode("utf-8", "replace").decode().replace("\x00", " ")
        asked = {"vector": self.embedder.embed([question])[0], "question": question[:_LONGEST], "tenant": tenant}
        with self._pool.connection() as connection:
            return self._searches.run(connection, asked, k=k, mode=mode)


def configure(connection: psycopg.Connection, *, vectors: VectorSettings, held: str | None = None) -> None:
    """Prepare a connection: an index scan goes on until enough visible chunks are found, in exact order."""
    from pgvector.psycopg import register_vector

    register_vector(connection)
    if held:
        hold(connection, held)
    connection.execute("SET hnsw.iterative_scan = strict_order")
    connection.execute(f"SET hnsw.max_scan_tuples = {_MOST_SCANNED}")
    connection.execute(f"SET hnsw.ef_search = {vectors.ef_search}")


@contextmanager
def open_retriever(
    index: Path, embedder: TextEncoder, stores: Stores, state: Path, *, load: bool = True
) -> Iterator[PostgresRetriever]:
    """Open a search of an index in the default store, which keeps the collection while it is open."""
    spec = stores.chosen
    with open_store(spec, state) as address:
        with connected(stores, address) as connection:
            if load:
                collection = ensure_collection(connection, index, spec.vectors).collection
            else:
                collection = read_info(index).collection
                if collection not in list_collections(connection):
                    raise SluiceError(
                        f"it does not have the collection of this release, {collection}",
                        remedy=f"sluice index build --store {stores.default}; of a release that was made before:"
                        f" sluice index load RELEASE --store {stores.default}",
                    )
            searches = SearchStatements(connection, collection)
        connections = BoundedPool(
            address,
            seconds=spec.timeout_seconds,
            most=spec.connections,
            configure=partial(configure, vectors=spec.vectors, held=collection),
            revive=reviver(spec, state),
        )
        with closing(connections):
            yield PostgresRetriever(connections, searches, embedder)


class TenantRetriever(Retriever):
    """Searches a tenant's `own` store only, or the `shared` one only."""

    shared: Retriever
    own: Mapping[str | None, Retriever]

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        return self.own.get(tenant, self.shared).search(question, k=k, tenant=tenant)


@contextmanager
def open_for_tenants(index: Path, embedder: TextEncoder, stores: Stores, state: Path) -> Iterator[Retriever]:
    """Open `open_retriever`, and one more for each store that tenants have of their own."""
    elsewhere = {tenant: store for tenant, store in stores.tenants.items() if store != stores.default}
    with ExitStack() as opened:
        shared = opened.enter_context(open_retriever(index, embedder, stores, state))
        found: dict[str, Retriever] = {}
        for store in sorted(set(elsewhere.values())):
            opening = open_retriever(index, embedder, stores.using(store=store), state, load=False)
            try:
                found[store] = opened.enter_context(opening)
            except SluiceError as error:
                whose = ", ".join(sorted(tenant for tenant, name in elsewhere.items() if name == store))
                raise SluiceError(f"store {store!r}, of {whose} alone: {error.message}", remedy=error.remedy) from error
        own: dict[str | None, Retriever] = {tenant: found[store] for tenant, store in elsewhere.items()}
        yield TenantRetriever(embedder=embedder, shared=shared, own=own) if own else shared
