"""Search for passages over any vector store: the small interface of all backends.

`open_retriever` is what the service and the pipeline use. A kind of store is a module with one class and one line in
`_BACKENDS`; the same tests run over all of them (engine/tests/unit/retrieval/test_backends.py).
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from sluice.retrieval.index_files import IndexInfo, TextEncoder
from sluice.retrieval.passages import Hit
from sluice.retrieval.stores import Stores

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever

# Kind of store to what opens it; imported when it is used.
_BACKENDS = {
    "embedded": "sluice.retrieval.postgres:open_postgres",
    "postgres": "sluice.retrieval.postgres:open_postgres",
    "memory": "sluice.retrieval.langchain_stores:open_memory",
    "pgvectorstore": "sluice.retrieval.langchain_stores:open_pgvectorstore",
}


class Retriever(ABC):
    """Searches one collection. Thread-safe. `embedder`: what makes a question a vector; the guards ask it as well."""

    embedder: TextEncoder

    @abstractmethod
    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """The `k` best chunks, best first, of those for everybody and of `tenant`'s own. RetrievalError when the store
        does not answer in time."""

    def as_langchain(self, *, k: int, tenant: str | None = None) -> BaseRetriever:
        """The same search as a LangChain retriever, for chains of one's own."""
        from langchain_core.callbacks import CallbackManagerForRetrieverRun
        from langchain_core.documents import Document
        from langchain_core.retrievers import BaseRetriever

        search = self.search

        class LangChainPassageRetriever(BaseRetriever):
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

        return LangChainPassageRetriever()


class StoreBackend(Protocol):
    """A store's collections. A collection is there whole or not at all, also when loading it is killed."""

    def load(self, folder: Path) -> IndexInfo:
        """Loads the index in `folder` unless its collection is there."""

    def collections(self) -> list[str]:
        """Names, sorted."""

    def drop(self, collection: str) -> bool:
        """Whether it was there and nothing needed it."""

    def retriever(self, collection: str, embedder: TextEncoder) -> AbstractContextManager[Retriever]:
        """While it is open the collection stays."""


def open_backend(stores: Stores, state: Path) -> AbstractContextManager[StoreBackend]:
    """The default store of `stores`. `state`: the .sluice/ folder, where an embedded one lives."""
    module, _, name = _BACKENDS[stores.chosen.kind].partition(":")
    return cast(AbstractContextManager[StoreBackend], getattr(importlib.import_module(module), name)(stores, state))


@contextmanager
def open_retriever(index: Path, embedder: TextEncoder, stores: Stores, state: Path) -> Iterator[Retriever]:
    """A retriever over the index files in `index`; their collection is loaded into the default store if missing."""
    with open_backend(stores, state) as backend:
        info = backend.load(index)
        with backend.retriever(info.collection, embedder) as retriever:
            yield retriever
