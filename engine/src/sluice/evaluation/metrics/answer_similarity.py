"""Answer similarity: cosine between the embeddings of the answer and of the closest expected answer, from 0 to 1.

MiniLM's vectors have length 1, so the cosine is their product; a negative one counts as 0. An answer that equals an
expected one after normalisation scores 1 without being embedded, an empty one scores 0. It forgives other words for
the same thing, and it also forgives a wrong number or a missing "not": read it beside F1, never alone.
Answerable rows that were answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.evaluation.answer_text import normalise
from sluice.evaluation.metric_batching import MetricBatcher
from sluice.evaluation.registry import Metric, Output, Row, metric

if TYPE_CHECKING:
    from sluice.retrieval.embedder import Vectors


@metric
class AnswerSimilarity(Metric):
    """`vectors`: one vector of length 1 for each text."""

    name = "answer_similarity"
    what = "cosine of MiniLM's vectors of the answer and the closest expected one; below 0 counts as 0"
    unit = "share"
    rows = "with answers that were answered"
    needs = "model"
    resources = ("vectors",)

    def __init__(self, vectors: MetricBatcher[Vectors]) -> None:
        self._vectors = vectors

    async def score(self, row: Row, output: Output) -> float | None:
        if not row.answers or output.declined:
            return None
        if not output.text.strip():
            return 0.0
        if normalise(output.text) in {normalise(answer) for answer in row.answers}:
            return 1.0
        ours, *theirs = await self._vectors.of([output.text, *row.answers])
        return min(1.0, max(0.0, *(float(ours @ other) for other in theirs)))
