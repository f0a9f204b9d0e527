"""Backends over LangChain's vector stores: the in-memory store, and PGVectorStore.

They search by vectors alone. What is LangChain's and what differs from store to store is in `LangChainStore`; another
store of LangChain is another subclass of a dozen lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from sluice.retrieval.chunking import starts
from sluice.retrieval.index_files import IndexInfo, TextEncoder, read_index
from sluice.retrieval.passages import Hit
from sluice.retrieval.retriever import Retriever
from sluice.retrieval.stores import Stores, open_store

if TYPE_CHECKING:
    from langchain_core.vectorstores import VectorStore

_BATCH = 1000  # chunks handed over together


class _PrecomputedEmbeddings(Embeddings):
    """Vectors that are there already, in the order in which they are asked for; questions by the embedder."""

    def __init__(self, embedder: TextEncoder | None = None, vectors: Sequence[Sequence[float]] = ()) -> None:
        self._embedder = embedder
        self._vectors = iter(vectors)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(next(self._vectors)) for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        assert self._embedder is not None
        return [float(number) for number in self._embedder.embed([text])[0]]


class LangChainRetriever(Retriever):
    def __init__(self, kind: LangChainStore, store: VectorStore, embedder: TextEncoder) -> None:
        self._kind = kind
        self._store = store
        self.embedder = embedder

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        found = self._store.similarity_search_with_score(question, k=k, filter=self._kind.visible(tenant))
        hits = []
        for document, score in found:
            similarity = self._kind.similarity(float(score))
            kept = document.metadata
            hits.append(
                Hit(
                    chunk_id=kept["chunk_id"],
                    doc_id=kept["doc_id"],
                    title=kept["title"],
                    text=document.page_content,
                    score=similarity,
                    similarity=similarity,
                    start=int(kept["start"]),
                )
            )
        return hits


class LangChainStore(ABC):
    """One store of LangChain as a backend."""

    @abstractmethod
    def make(self, collection: str, dimension: int, embeddings: Embeddings) -> VectorStore:
        """An empty store for a draft of the collection."""

    @abstractmethod
    def publish(self, collection: str) -> None:
        """The draft becomes the collection, at once."""

    @abstractmethod
    def open(self, collection: str, embeddings: Embeddings) -> VectorStore: ...

    @abstractmethod
    def visible(self, tenant: str | None) -> Any:
        """The store's filter for what is for everybody and what is the tenant's."""

    @abstractmethod
    def similarity(self, score: float) -> float:
        """The cosine, from the store's score."""

    @abstractmethod
    def collections(self) -> list[str]: ...

    @abstractmethod
    def drop(self, collection: str) -> bool: ...

    def load(self, folder: Path) -> IndexInfo:
        info, chunks, vectors = read_index(folder)
        if info.collection in self.collections():
            return info
        store = self.make(info.collection, info.dimension, _PrecomputedEmbeddings(vectors=vectors.tolist()))
        kept = [
            {"chunk_id": chunk.id, "doc_id": chunk.doc_id, "title": chunk.title, "start": start, "tenant": chunk.tenant}
            for chunk, start in zip(chunks, starts(chunks), strict=True)
        ]
        for at in range(0, len(chunks), _BATCH):
            part = chunks[at : at + _BATCH]
            store.add_texts([chunk.text for chunk in part], kept[at : at + _BATCH], ids=[chunk.id for chunk in part])
        self.publish(info.collection)
        return info

    @contextmanager
    def retriever(self, collection: str, embedder: TextEncoder) -> Iterator[LangChainRetriever]:
        yield LangChainRetriever(self, self.open(collection, _PrecomputedEmbeddings(embedder)), embedder)


class MemoryStore(LangChainStore):
    """For small corpora and for trials: exact, no server, gone with the process."""

    def __init__(self) -> None:
        self._drafts: dict[str, VectorStore] = {}
        self._stores: dict[str, Any] = {}

    def make(self, collection: str, dimension: int, embeddings: Embeddings) -> VectorStore:  # noqa: ARG002
        from langchain_core.vectorstores import InMemoryVectorStore

        draft = self._drafts[collection] = InMemoryVectorStore(embeddings)
        return draft

    def publish(self, collection: str) -> None:
        self._stores[collection] = self._drafts.pop(collection)

    def open(self, collection: str, embeddings: Embeddings) -> VectorStore:
        from langchain_core.vectorstores import InMemoryVectorStore

        store = InMemoryVectorStore(embeddings)
        store.store = self._stores[collection].store
        return store

    def visible(self, tenant: str | None) -> Any:
        return lambda document: document.metadata["tenant"] in (None, tenant)

    def similarity(self, score: float) -> float:
        return score

    def collections(self) -> list[str]:
        return sorted(self._stores)

    def drop(self, collection: str) -> bool:
        return self._stores.pop(collection, None) is not None


class PgVectorStore(LangChainStore):
    """langchain-postgres in a PostgreSQL of one's own. `address`: of the server."""

    def __init__(self, address: str) -> None:
        from langchain_postgres import PGEngine
        from psycopg.conninfo import conninfo_to_dict
        from sqlalchemy import URL, create_engine

        words = {key: str(value) for key, value in conninfo_to_dict(address).items()}  # a URL or key=value, as in libpq
        url = URL.create("postgresql+psycopg", database=words.pop("dbname", None), query=words)
        self._engine = PGEngine.from_connection_string(url)
        self._plain = create_engine(url)
        self._execute("CREATE EXTENSION IF NOT EXISTS vector")

    def close(self) -> None:
        self._plain.dispose()
        self._engine._run_as_sync(self._engine.close())

    def make(self, collection: str, dimension: int, embeddings: Embeddings) -> VectorStore:
        from langchain_postgres import Column

        columns = [Column(name, "TEXT") for name in ("chunk_id", "doc_id", "title", "tenant")]
        self._engine.init_vectorstore_table(
            _table(collection, draft=True),
            dimension,
            id_column=Column("langchain_id", "TEXT"),
            metadata_columns=[*columns, Column("start", "INTEGER")],
            overwrite_existing=True,
        )
        return self._store(_table(collection, draft=True), embeddings)

    def publish(self, collection: str) -> None:
        self._execute(f'ALTER TABLE "{_table(collection, draft=True)}" RENAME TO "{_table(collection)}"')

    def open(self, collection: str, embeddings: Embeddings) -> VectorStore:
        return self._store(_table(collection), embeddings)

    def visible(self, tenant: str | None) -> Any:
        everybody = {"tenant": {"$exists": False}}
        return everybody if tenant is None else {"$or": [everybody, {"tenant": {"$eq": tenant}}]}

    def similarity(self, score: float) -> float:
        return 1 - score

    def collections(self) -> list[str]:
        found = self._execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'langchain_chunks_%'")
        return sorted(str(row[0]).removeprefix("langchain_") for row in found)

    def drop(self, collection: str) -> bool:
        there = collection in self.collections()
        self._execute(f'DROP TABLE IF EXISTS "{_table(collection)}"')
        return there

    def _store(self, table: str, embeddings: Embeddings) -> VectorStore:
        from langchain_postgres import PGVectorStore

        kept = ["chunk_id", "doc_id", "title", "tenant", "start"]
        return PGVectorStore.create_sync(self._engine, embeddings, table, metadata_columns=kept)

    def _execute(self, statement: str) -> list[Any]:
        from sqlalchemy import text

        with self._plain.begin() as connection:
            result = connection.execute(text(statement))
            return list(result) if result.returns_rows else []


def _table(collection: str, *, draft: bool = False) -> str:
    return f"{'draft' if draft else 'langchain'}_{collection}"


@contextmanager
def open_memory(stores: Stores, state: Path) -> Iterator[MemoryStore]:  # noqa: ARG001 - it has no place
    yield MemoryStore()


@contextmanager
def open_pgvectorstore(stores: Stores, state: Path) -> Iterator[PgVectorStore]:
    with open_store(stores.chosen, state) as address:
        store = PgVectorStore(address)
        try:
            yield store
        finally:
            store.close()
