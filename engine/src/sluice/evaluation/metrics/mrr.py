"""Mean reciprocal rank of the first retrieved chunk of a right document; 0 when there is none. Answerable rows only."""

from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="1 / rank of the first chunk of a right document, 0 without",
    unit="share",
    rows="that name the documents with the answer (doc_ids)",
    needs="passages",
)
def mrr(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    return next((1 / rank for rank, doc in enumerate(output.retrieved, 1) if doc in row.doc_ids), 0.0)
