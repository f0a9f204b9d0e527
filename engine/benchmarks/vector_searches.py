"""The searching half of engine/benchmarks/vectors.py: raw pgvector and our retriever over one server, question by
question."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from vector_loads import DIMENSION, Given

from sluice.retrieval.retriever import PostgresRetriever, open_retriever
from sluice.retrieval.stores import Stores

K = 10
ROUNDS = 4
TRIED = (40, 100, 200, 300, 400, 600)
Search = Callable[[int], list[int]]


@dataclass(frozen=True)
class Searched:
    """`recall`: recall@10 against an exact scan. `p50`, `p95`: ms."""

    recall: float
    p50: float
    p95: float


def search_all(
    raw: str,
    ours: dict[str, str],
    state: Path,
    given: Given,
    exact: Sequence[set[int]],
    enough: Callable[[dict[str, float]], bool],
) -> tuple[int, dict[str, Searched]]:
    """`raw`, `ours`: addresses. With the smallest ef_search of a few for which the recalls of ours are `enough`; that
    ef_search, and what each was measured with it."""
    for ef_search in TRIED:
        with ExitStack() as opened:
            searches = {
                name: our_search(opened.enter_context(_retriever(address, ef_search, state, given)))
                for name, address in ours.items()
            }
            recalls = {name: recall_of(search, exact) for name, search in searches.items()}
            print(f"ef_search {ef_search}: recall@10 {recalls}", flush=True)
            if enough(recalls) or ef_search == TRIED[-1]:
                connection = opened.enter_context(psycopg.connect(raw, autocommit=True))
                searches = {"raw": raw_search(connection, given, ef_search), **searches}
                return ef_search, measured(searches, exact)
    raise AssertionError("not reached")


def raw_search(connection: psycopg.Connection[Any], given: Given, ef_search: int) -> Search:
    register_vector(connection)
    connection.execute(f"SET hnsw.ef_search = {ef_search}")
    cursor = connection.cursor(binary=True)
    statement = f"SELECT id, content FROM items ORDER BY embedding <=> %b::vector({DIMENSION}) LIMIT {K}"

    def search(number: int) -> list[int]:
        (question,) = given.embed([f"q{number}"])
        return [row[0] for row in cursor.execute(statement, (question,), prepare=True).fetchall()]

    return search


def our_search(retriever: PostgresRetriever) -> Search:
    return lambda number: [int(hit.doc_id[1:]) for hit in retriever.search(f"q{number}", k=K, mode="vectors")]


@contextmanager
def _retriever(address: str, ef_search: int, state: Path, given: Given) -> Iterator[PostgresRetriever]:
    variable = "VECTORS_STORE"
    os.environ[variable] = address
    spec = {"kind": "postgres", "url_env": variable, "timeout_seconds": 60, "vectors": {"ef_search": ef_search}}
    stores = Stores.model_validate({"default": "x", "stores": {"x": spec}})
    with open_retriever(state / "index", given, stores, state, load=False) as retriever:
        yield retriever


def recall_of(search: Search, exact: Sequence[set[int]]) -> float:
    shares = [len(set(search(number)) & best) / K for number, best in enumerate(exact)]
    return float(np.mean(shares))


def measured(searches: dict[str, Search], exact: Sequence[set[int]]) -> dict[str, Searched]:
    """Question by question in turn, so that what disturbs one disturbs all."""
    recall = {name: recall_of(search, exact) for name, search in searches.items()}  # also warms up
    took: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for number in range(len(exact)):
            for name, search in searches.items():
                began = time.perf_counter()
                search(number)
                took[name].append((time.perf_counter() - began) * 1e3)
    return {name: Searched(recall[name], *map(float, np.percentile(took[name], [50, 95]))) for name in searches}
