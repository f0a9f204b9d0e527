"""Finds the smallest ef_search with which a collection's vector index reaches the target recall of an exact scan.

It is a setting of searching alone (config/stores.yaml): nothing is loaded again when it changes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from sluice.core.errors import SluiceError
from sluice.extras.admin.search_recall import questions_beside, sample, scan, search, share
from sluice.retrieval.collection_tables import TableDescription, require_description, vector_indexed, view_of
from sluice.retrieval.postgres import Asked, SearchStatements, configure
from sluice.retrieval.stores import VectorSettings

if TYPE_CHECKING:
    import psycopg

VALUES = (10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000)  # of ef_search; pgvector takes no larger one


@dataclass(frozen=True)
class TuningTrial:
    """`recall`: recall@10 against an exact scan. `milliseconds`: of the median question, one connection."""

    ef_search: int
    recall: float
    milliseconds: float


@dataclass(frozen=True)
class TuningResult:
    """`tried`: rising, up to the first that reaches `target`. `loaded`: the settings the collection was made with."""

    collection: str
    target: float
    questions: int
    tried: tuple[TuningTrial, ...]
    loaded: VectorSettings

    def table(self) -> str:
        """A line for each value that was tried."""
        rows = [f"{each.ef_search:9}  {each.recall:9.3f}  {each.milliseconds:6.2f}" for each in self.tried]
        return "\n".join(["ef_search  recall@10  p50 ms", *rows])

    def chosen(self) -> int:
        """The smallest ef_search that reaches the target. SluiceError when none does."""
        last = self.tried[-1]
        if last.recall < self.target:
            best = max(tried.recall for tried in self.tried)
            bits = "set a larger `vectors.oversampling` in config/stores.yaml, or "
            raise SluiceError(
                f"{self.collection}: no ef_search reaches a recall@10 of {self.target:g}; the best is {best:.3f}",
                remedy=(bits if self.loaded.index == "binary" else "")
                + "make its vector index anew with a larger `vectors.ef_construction` in config/stores.yaml (now"
                f" {self.loaded.ef_construction}): `sluice index drop {self.collection}`, then load it again",
            )
        return last.ef_search


def tune(
    connection: psycopg.Connection[Any],
    collection: str,
    *,
    target: float = 0.99,
    questions: int = 200,
    oversampling: int | None = None,
) -> TuningResult:
    """Asks each question exactly once and by the index with each value, until one reaches `target`.

    `oversampling`: of a vector index of bits; None: what the collection was loaded with.
    SluiceError where no vector index is searched, since then nothing is to be chosen."""
    description = require_description(connection, collection)
    if not vector_indexed(connection, (collection, description.base)):
        raise SluiceError(
            f"{collection}: has too few chunks for a vector index, every search is exact",
            remedy="ef_search has no effect there: leave it as it is",
        )
    configure(connection, vectors=description.vectors)
    searches = SearchStatements(connection, collection, oversampling=oversampling)
    asked = _questions(connection, description, questions)
    exact = [scan(connection, searches, each) for each in asked]
    tried: list[TuningTrial] = []
    for value in VALUES:
        tried.append(_try(connection, searches, asked, exact, value))
        if tried[-1].recall >= target:
            break
    return TuningResult(collection, target, len(asked), tuple(tried), description.vectors)


def _try(
    connection: psycopg.Connection[Any],
    searches: SearchStatements,
    asked: list[Asked],
    exact: list[set[str]],
    value: int,
) -> TuningTrial:
    connection.execute(f"SET hnsw.ef_search = {value}")
    shares, seconds = [], []
    for question, best in zip(asked, exact, strict=True):
        begin = time.perf_counter()
        found = search(connection, searches, question)
        seconds.append(time.perf_counter() - begin)
        shares.append(share(found, best))
    return TuningTrial(value, fmean(shares), 1000 * median(seconds))


def _questions(connection: psycopg.Connection[Any], description: TableDescription, questions: int) -> list[Asked]:
    view = sql.Identifier(view_of(description))
    ids = [row[0] for row in connection.execute(sql.SQL("SELECT id FROM {} ORDER BY id").format(view))]
    rows = connection.execute(
        sql.SQL("SELECT embedding::vector, tenant FROM {} WHERE id = ANY(%s) ORDER BY id").format(view),
        ([ids[place] for place in sample(len(ids), questions)],),
        binary=True,
    ).fetchall()
    return questions_beside(np.asarray([row[0] for row in rows], dtype=np.float32), [row[1] for row in rows])
