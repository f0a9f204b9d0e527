"""Contains: one of the expected spans occurs, normalised, anywhere in the answer. Answerable rows only."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output
from sluice.evaluation.text import normalise


class ContainsAnswer:
    name = "contains_answer"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.answers:
            return None
        words = f" {normalise(output.text)} "
        return float(any(f" {normalise(answer)} " in words for answer in row.answers))
