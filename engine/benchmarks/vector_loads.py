"""The loading half of engine/benchmarks/vectors.py: made-up vectors, into raw pgvector, collections and LangChain's
stores."""

from __future__ import annotations

import multiprocessing
import resource
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from langchain_core.embeddings import Embeddings
from pgvector.psycopg import register_vector

from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval import postgres_collections
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.stores import VectorSettings

DIMENSION, CLUSTERS = 384, 500
M, CONSTRUCTION = 16, 128  # of HNSW; with pgvector's own ef_construction of 64 recall stays at 0.99, whatever ef_search
SENTENCE = "some text of a document that was split into pieces of this size. "


def drawn(rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and questions, the same in every run."""
    rng = np.random.default_rng(7)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    centres = unit(rng.normal(size=(CLUSTERS, DIMENSION)))

    def draw(number: int) -> np.ndarray:
        noise = rng.standard_normal((number, DIMENSION), dtype=np.float32) * 0.8 / np.sqrt(DIMENSION)
        return unit(centres[rng.integers(CLUSTERS, size=number)] + noise)

    return draw(rows), draw(queries)


def text_of(number: int) -> str:
    return f"chunk {number}: {SENTENCE * 3}"


class Given:
    """Embeds by looking up: `q<number>` is that question, all else the vectors in order."""

    def __init__(self, vectors: np.ndarray, questions: np.ndarray) -> None:
        self._vectors = vectors
        self._questions = questions

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if len(texts) == 1 and texts[0].startswith("q"):
            return np.asarray(self._questions[int(texts[0][1:])][np.newaxis])
        return self._vectors[: len(texts)]


class Ready(Embeddings):
    """The same for LangChain."""

    def __init__(self, found: dict[str, list[float]]) -> None:
        self._found = found

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._found[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._found[text]


@dataclass(frozen=True)
class Loaded:
    """`rows_a_second`: while rows go in; `seconds`: for the vector index. `vectors`, `table`, `index`: bytes of the
    column of vectors, of the table that it is in and of the vector index. `peak`: MiB of the loading process, where it
    is one of its own."""

    rows_a_second: float
    seconds: float
    vectors: int
    table: int
    index: int
    peak: float = 0.0


def sizes(connection: psycopg.Connection[Any], name: str) -> tuple[int, int, int]:
    """Bytes: `vectors`, `table` and `index` of Loaded."""
    row = connection.execute(
        f"SELECT (SELECT sum(pg_column_size(embedding)) FROM {name}), pg_table_size(%(name)s::regclass),"
        " pg_relation_size(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_am a ON a.oid = c.relam WHERE i.indrelid = %(name)s::regclass AND a.amname = 'hnsw'",
        {"name": name},
    ).fetchone()
    assert row
    return int(row[0]), int(row[1]), int(row[2])


def load_raw(address: str, vectors: np.ndarray) -> Loaded:
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        connection.execute(f"CREATE TABLE items (id int, content text, embedding vector({DIMENSION}))")
        began = time.perf_counter()
        with connection.cursor().copy("COPY items FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", "vector"])
            for number, vector in enumerate(vectors):
                copy.write_row((number, text_of(number), vector))
        ingest = time.perf_counter() - began
        began = time.perf_counter()
        connection.execute(
            "CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)"
            f" WITH (m = {M}, ef_construction = {CONSTRUCTION})"
        )
        index = time.perf_counter() - began
        connection.execute("ALTER TABLE items ADD PRIMARY KEY (id)")
        connection.execute("ANALYZE items")
        return Loaded(len(vectors) / ingest, index, *sizes(connection, "items"))


def make_index(folder: Path, vectors: np.ndarray) -> None:
    """The files of an index, a chunk for each vector."""
    spec = ModelSpec(name="none", source="file:none", sha256="0" * 64, licence="CC0-1.0")
    documents = [
        Document(id=f"d{number:07}", title="T", licence="CC0-1.0", source="made up", text=text_of(number))
        for number in range(len(vectors))
    ]
    build_index(documents, Given(vectors, vectors[:0]), spec, ChunkerSettings(), folder)


def load_ours(address: str, index: Path, settings: VectorSettings) -> Loaded:
    """In a process of its own, whose memory is then the loader's."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_load_ours, args=(address, index, settings, there))
    process.start()
    loaded: Loaded = here.recv()
    process.join()
    return loaded


def _load_ours(address: str, index: Path, settings: VectorSettings, there: Any) -> None:
    took = {"_fill": 0.0, "_make_vector_index": 0.0}

    def timed(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def outer(*words: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*words, **options)
            finally:
                took[name] += time.perf_counter() - began

        setattr(module, name, outer)

    timed(postgres_collections, "_fill")
    timed(postgres_collections, "_make_vector_index")
    with psycopg.connect(address, autocommit=True) as connection:
        info = postgres_collections.ensure_collection(connection, index, settings)
        found = sizes(connection, info.collection)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    there.send(Loaded(info.chunks / took["_fill"], took["_make_vector_index"], *found, peak))


@dataclass(frozen=True)
class Speeds:
    """`rows_a_second`: by the name of the store."""

    rows_a_second: dict[str, float]


def load_langchain(address: str, vectors: np.ndarray) -> Speeds:
    """Of PGVectorStore and the older PGVector."""
    from langchain_core.documents import Document as Piece
    from langchain_postgres import PGEngine, PGVector, PGVectorStore

    few = len(vectors)
    url = address.replace("postgresql://", "postgresql+asyncpg://")
    texts = [text_of(number) for number in range(few)]
    embeddings = Ready(dict(zip(texts, vectors.tolist(), strict=True)))
    ids = [str(uuid.UUID(int=number)) for number in range(few)]
    engine = PGEngine.from_connection_string(url)
    engine.init_vectorstore_table("lc", DIMENSION)
    store = PGVectorStore.create_sync(engine, embeddings, "lc")
    pieces = [Piece(page_content=text, metadata={"i": number}) for number, text in enumerate(texts)]
    began = time.perf_counter()
    store.add_documents(pieces, ids=ids)
    new = few / (time.perf_counter() - began)
    old = PGVector(
        embeddings=embeddings,
        connection=address.replace("postgresql://", "postgresql+psycopg://"),
        collection_name="old",
        embedding_length=DIMENSION,
    )
    began = time.perf_counter()
    for at in range(0, few, 1000):
        part = slice(at, at + 1000)
        old.add_texts(texts[part], metadatas=[{"i": at}] * len(texts[part]), ids=ids[part])
    return Speeds({"PGVectorStore": new, "PGVector": few / (time.perf_counter() - began)})
