"""Contains: one of the expected spans occurs, normalised, anywhere in the answer. Answerable rows only."""

from sluice.data.rows import Row
from sluice.evaluation.answer_text import normalise
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


@metric
class ContainsAnswer(Metric):
    name = "contains_answer"
    what = "an expected answer occurs in the answer, both normalised"
    unit = "share"
    rows = "with answers"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.answers:
            return None
        words = f" {normalise(output.text)} "
        return float(any(f" {normalise(answer)} " in words for answer in row.answers))
