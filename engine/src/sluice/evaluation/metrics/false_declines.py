"""False declines: the share of answerable rows that were declined. Unanswerable rows do not count here."""

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


@metric
class FalseDeclines(Metric):
    name = "false_declines"
    what = "declined"
    unit = "share"
    rows = "with answers"
    direction = "lower"

    def score(self, row: Row, output: Output) -> float | None:
        return float(output.declined) if row.answers else None
