"""Retrieval recall@5: the share of the row's documents that are among the five best chunks. Answerable rows only."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output

K = 5


class RecallAt5:
    name = "recall_at_5"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"
    rows = "that name the documents with the answer (doc_ids)"
    needs = "passages"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.doc_ids:
            return None
        return len(set(row.doc_ids) & set(output.retrieved[:K])) / len(set(row.doc_ids))
