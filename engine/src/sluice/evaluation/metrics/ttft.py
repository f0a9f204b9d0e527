"""Time to the first token in milliseconds, over the cases that reached the model."""

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


@metric
class TimeToFirstToken(Metric):
    name = "ttft_p50_ms"
    what = "time to the first text"
    unit = "ms"
    rows = "that reached the model"
    needs = "clock"
    direction = "lower"
    aggregate = "p50"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return output.ttft_ms
