"""Decline accuracy: the share of unanswerable rows that were declined. Answerable rows do not count here."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class DeclineAccuracy:
    name = "decline_accuracy"
    version = "1"
    unit = "share"
    direction: Literal["higher"] = "higher"
    aggregate: Literal["mean"] = "mean"
    rows = "without answers, which must be declined (answers: [])"

    def score(self, row: Row, output: Output) -> float | None:
        return None if row.answers else float(output.declined)
