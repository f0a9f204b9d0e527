"""Full text alone, ours beside PostgreSQL's own ranking (`ts_rank_cd`), over growing collections, in one run.

    .venv/bin/python engine/benchmarks/text_search.py [--rows 2000 50000]     # a minute; needs data/ (`dvc pull`)

A chunk is five sentences of the corpus, drawn at random; the questions are those of data/eval.jsonl, and one of 2,000
characters, the most that a search reads. Both rank in one server for the best twenty, in turn; the first round is not
counted.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from figures import Figure, show, table
from psycopg import sql
from psycopg.rows import class_row

from sluice.core.workspace import Workspace
from sluice.data.rows import Document, load_corpus, load_rows
from sluice.llm.model_files import ModelSpec
from sluice.retrieval import Hit
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.postgres_collections import words_of
from sluice.retrieval.retriever import PostgresRetriever, open_retriever
from sluice.retrieval.stores import Stores

LOCAL = Stores.model_validate({"default": "local", "stores": {"local": {"kind": "embedded"}}})
BY_TS_RANK = """WITH asked AS MATERIALIZED (
    SELECT replace(plainto_tsquery('english', %(question)s)::text, '&', '|')::tsquery AS words
)
SELECT c.id AS chunk_id, c.doc_id, c.title, c.text, ts_rank_cd(t.words, asked.words)::float8 AS score,
    0::float8 AS similarity
FROM {words} t JOIN {chunks} c USING (id), asked WHERE t.words @@ asked.words ORDER BY score DESC, t.id LIMIT %(k)s
"""
K = 20
ROUNDS = 4
SENTENCES = 5
LONGEST = 2000  # characters


def by_ts_rank(connection: psycopg.Connection[Any], collection: str, question: str, k: int) -> list[Hit]:
    """What PostgreSQL's own ranking finds for any of the question's words."""
    statement = sql.SQL(BY_TS_RANK).format(
        words=sql.Identifier(words_of(collection)), chunks=sql.Identifier(collection)
    )
    with connection.cursor(row_factory=class_row(Hit)) as cursor:
        return cursor.execute(statement, {"question": question, "k": k}, prepare=True).fetchall()


class Anywhere:
    """Embeds a text anywhere: this is about words."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.random.default_rng(7).standard_normal((len(texts), 4), dtype=np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 50_000])
    options = parser.parse_args()
    data = Workspace.find().data
    corpus = load_corpus(data / "corpus")
    questions = [row.question for row in load_rows(data / "eval.jsonl")]
    lines, figures = [], list[Figure]()
    for rows in options.rows:
        ours, theirs = measured(corpus, questions, rows)
        for name, (mine, other) in zip(("p50", "p95", "2,000 characters"), zip(ours, theirs, strict=True), strict=True):
            lines.append([f"{rows:,}", name, f"{other:.1f}", f"{mine:.1f}", f"{other / mine:.1f}"])
        share = ours[1] / theirs[1]
        figures.append((f"{rows:,} chunks: p95, ours of theirs", f"{share:.2f}", "at most 1", share <= 1))
    print(table(["chunks", "", "ts_rank_cd, ms", "ours, ms", "ratio"], lines))
    return show(figures)


def measured(corpus: Sequence[Document], questions: Sequence[str], rows: int) -> list[list[float]]:
    """ms of ours and of PostgreSQL's ranking: p50, p95, and for the longest question."""
    state = Path(tempfile.mkdtemp(prefix="tx"))  # a short path: that of the server's socket is limited
    try:
        spec = ModelSpec(name="none", source="file:none", sha256="0" * 64, licence="CC0-1.0")
        info = build_index(mixed(corpus, rows), Anywhere(), spec, ChunkerSettings(max_words=10_000), state / "index")
        with open_retriever(state / "index", Anywhere(), LOCAL, state) as retriever:
            assert isinstance(retriever, PostgresRetriever)
            with retriever._pool.connection() as pooled:
                address = pooled.info.dsn
            # Without the time limit of a search: the longest question takes PostgreSQL's ranking many seconds.
            with psycopg.connect(address, autocommit=True) as connection:
                return timed(
                    [
                        lambda question: retriever.search(question, k=K, mode="text"),
                        lambda question: by_ts_rank(connection, info.collection, question, K),
                    ],
                    questions,
                )
    finally:
        shutil.rmtree(state, ignore_errors=True)


def timed(searches: Sequence[Callable[[str], object]], questions: Sequence[str]) -> list[list[float]]:
    """For each of the searches: p50, p95, and what the longest question takes."""
    words = " ".join(dict.fromkeys(" ".join(questions).split()))[:LONGEST]
    rounds = [[took(search, question) for search in searches] for _ in range(ROUNDS) for question in questions]
    counted = np.array(rounds[len(questions) :]).T
    longest = [min(took(search, words) for _ in range(2)) for search in searches]
    return [[*np.percentile(found, (50, 95)), most] for found, most in zip(counted, longest, strict=True)]


def took(search: Callable[[str], object], question: str) -> float:
    began = time.perf_counter()
    search(question)
    return (time.perf_counter() - began) * 1000


def mixed(corpus: Sequence[Document], rows: int) -> list[Document]:
    """So many documents of a chunk each, of the corpus's own sentences, the same in every run."""
    sentences = [part for document in corpus for part in " ".join(document.text.split()).split(". ") if len(part) > 30]
    rng = random.Random(7)
    return [
        Document(
            id=f"d{number:07}",
            title="T",
            licence="CC0-1.0",
            source="made up",
            text=". ".join(rng.choices(sentences, k=SENTENCES)),
        )
        for number in range(rows)
    ]


if __name__ == "__main__":
    sys.exit(main())
