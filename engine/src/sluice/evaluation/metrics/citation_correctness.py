"""Citations: the share of an answer's citations that name a right document; an answer with none scores 0.

Answerable rows that were answered; declining is judged by other metrics.
"""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class CitationCorrectness:
    name = "citation_correctness"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"
    rows = "that name the documents with the answer (doc_ids)"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.doc_ids or output.declined:
            return None
        if not output.citations:
            return 0.0
        return sum(doc in row.doc_ids for doc in output.citations) / len(output.citations)
