"""Retrieval recall@5: the share of the row's documents that are among the five best chunks. Answerable rows only."""

from sluice.evaluation.registry import Output, Row, metric

K = 5


@metric(
    what="share of the row's documents among the five best chunks",
    unit="share",
    rows="that name the documents with the answer (doc_ids)",
    needs="passages",
)
def recall_at_5(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    return len(set(row.doc_ids) & set(output.retrieved[:K])) / len(set(row.doc_ids))
