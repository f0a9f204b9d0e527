"""Exact match: the normalised answer equals one of the expected spans. Answerable rows only."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output
from sluice.evaluation.text import normalise


class ExactMatch:
    name = "exact_match"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"
    rows = "with answers"

    def score(self, row: Row, output: Output) -> float | None:
        if not row.answers:
            return None
        return float(normalise(output.text) in {normalise(answer) for answer in row.answers})
