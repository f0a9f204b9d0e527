"""How high the documents with the answer stand among what was found. Rows that name them only."""

import math

from sluice.evaluation.registry import Output, Row, metric

K = 5
_NAMED = "that name the documents with the answer (doc_ids)"


@metric(what="1 / rank of the first chunk of a right document, 0 without", unit="share", rows=_NAMED, needs="passages")
def mrr(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    return next((1 / rank for rank, doc in enumerate(output.retrieved, 1) if doc in row.doc_ids), 0.0)


@metric(what="share of the row's documents among the five best chunks", unit="share", rows=_NAMED, needs="passages")
def recall_at_5(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    return len(set(row.doc_ids) & set(output.retrieved[:K])) / len(set(row.doc_ids))


# Gains of 0 and 1; further chunks of a document add nothing.
@metric(
    what="sum of 1 / log2(rank + 1) over the first chunk of each right document among five, divided by "
    "that of the best order (Järvelin and Kekäläinen, 2002)",
    unit="share",
    rows=_NAMED,
    needs="passages",
)
def ndcg_at_5(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    right = set(row.doc_ids)
    top = output.retrieved[:K]
    gained = sum(_discount(top.index(doc) + 1) for doc in right if doc in top)
    return gained / sum(_discount(rank) for rank in range(1, min(len(right), K) + 1))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)
