"""Retrieval nDCG@5: how high the row's documents stand among the five best chunks, 1 being as high as they could.

DCG = sum of 1 / log2(rank + 1) over the first chunk of each right document, divided by the DCG of the best order
(Järvelin and Kekäläinen, 2002, with gains of 0 and 1). Further chunks of a document add nothing. Answerable rows only.
"""

import math

from sluice.evaluation.metrics.recall_at_5 import K
from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="sum of 1 / log2(rank + 1) over the first chunk of each right document among five, divided by "
    "that of the best order (Järvelin and Kekäläinen, 2002)",
    unit="share",
    rows="that name the documents with the answer (doc_ids)",
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
