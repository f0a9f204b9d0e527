"""Mean reciprocal rank of the first retrieved chunk of a right document; 0 when there is none. Answerable rows only."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class ReciprocalRank:
    name = "mrr"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"
    rows = "that name the documents with the answer (doc_ids)"
    needs = "passages"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.doc_ids:
            return None
        return next((1 / rank for rank, doc in enumerate(output.retrieved, 1) if doc in row.doc_ids), 0.0)
