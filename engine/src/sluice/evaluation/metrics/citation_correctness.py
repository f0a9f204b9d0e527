"""Citations: the share of an answer's citations that name a right document; an answer with none scores 0.

Answerable rows that were answered; declining is judged by other metrics.
"""

from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="share of the citations that name a right document; 0 without citations",
    unit="share",
    rows="that name the documents with the answer (doc_ids)",
)
def citation_correctness(row: Row, output: Output) -> float | None:
    if not row.doc_ids or output.declined:
        return None
    if not output.citations:
        return 0.0
    return sum(doc in row.doc_ids for doc in output.citations) / len(output.citations)
