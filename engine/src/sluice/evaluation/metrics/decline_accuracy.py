"""Decline accuracy: the share of unanswerable rows that were declined. Answerable rows do not count here."""

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


@metric
class DeclineAccuracy(Metric):
    name = "decline_accuracy"
    what = "declined"
    unit = "share"
    rows = "without answers, which must be declined (answers: [])"

    def score(self, row: Row, output: Output) -> float | None:
        return None if row.answers else float(output.declined)
