"""False declines: the share of answerable rows that were declined. Unanswerable rows do not count here."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class FalseDeclines:
    name = "false_declines"
    version = "1"
    unit = "share"
    direction: Literal["lower"] = "lower"
    aggregate: Literal["mean"] = "mean"

    def score(self, row: Row, output: Output) -> float | None:
        return float(output.declined) if row.answers else None
