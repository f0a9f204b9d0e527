"""A retriever that searches the collection of a name (`sluice index switch`) and follows every switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import errors

from sluice.core.errors import SluiceError
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.index_files import EmbedderIdentity, TextEncoder, identity_of
from sluice.retrieval.passages import Hit
from sluice.retrieval.postgres import SearchStatements, configure, pooled, values_of
from sluice.retrieval.postgres_connections import BoundedPool
from sluice.retrieval.search_sql import Mode
from sluice.retrieval.stores import Stores, open_store

if TYPE_CHECKING:
    import psycopg

_ATTEMPTS = 3
_KNOWN = 16  # collections whose statements are kept


class AliasRetriever:
    """Thread-safe. A search is in one collection, whole, also while the name is switched and the old one dropped."""

    def __init__(
        self,
        pool: BoundedPool,
        name: str,
        embedder: TextEncoder,
        identity: EmbedderIdentity,
        oversampling: int | None = None,
    ) -> None:
        self._pool = pool
        self._name = name
        self._embedder = embedder
        self._identity = identity
        self._oversampling = oversampling
        self._searches: dict[str, SearchStatements] = {}

    def search(
        self, question: str, *, k: int, tenant: str | None = None, mode: Mode = "hybrid"
    ) -> tuple[str, list[Hit]]:
        """The collection and its `k` best chunks. RetrievalError when the store does not answer in time, SluiceError
        when the name stands for nothing or for vectors of another embedder."""
        asked = values_of(question, self._embedder, tenant=tenant)
        with self._pool.connection() as connection:
            for _ in range(_ATTEMPTS):
                collection = self._resolve(connection)
                try:
                    searches = self._searches.get(collection) or self._open(connection, collection)
                    return collection, searches.run(connection, asked, k=k, mode=mode)
                except errors.UndefinedTable:  # dropped between these two statements: the name stands for another
                    self._searches.pop(collection, None)
        raise SluiceError(
            f"{self._name}: stands for {collection}, which is not in the store",
            remedy="switch it to a collection of `sluice index list`",
        )

    def _resolve(self, connection: psycopg.Connection[Any]) -> str:
        row = connection.execute("SELECT collection FROM sluice_names WHERE name = %s", (self._name,)).fetchone()
        if row is None:
            raise SluiceError(
                f"{self._name}: stands for no collection of the store",
                remedy=f"sluice index switch COLLECTION --name {self._name}",
            )
        return str(row[0])

    def _open(self, connection: psycopg.Connection[Any], collection: str) -> SearchStatements:
        searches = SearchStatements(connection, collection, oversampling=self._oversampling)
        made_by = searches.description.index.embedder
        if made_by != self._identity:
            raise SluiceError(
                f"{collection}: made by the embedder {made_by.source}, the question's vector is of"
                f" {self._identity.source}",
                remedy="search with the embedder of the collection, or switch to one of this embedder",
            )
        if len(self._searches) > _KNOWN:
            self._searches.clear()
        self._searches[collection] = searches
        return searches


@contextmanager
def open_live(
    name: str, embedder: TextEncoder, spec: ModelSpec, stores: Stores, state: Path
) -> Iterator[AliasRetriever]:
    """A retriever over the default store that follows `name`. `spec`: of the embedder's model."""
    chosen = stores.chosen
    with (
        open_store(chosen, state) as address,
        pooled(address, chosen, state, partial(configure, vectors=chosen.vectors)) as connections,
    ):
        yield AliasRetriever(connections, name, embedder, identity_of(spec), chosen.vectors.oversampling)
