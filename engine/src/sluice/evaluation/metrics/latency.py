"""Wall time of a whole answer in milliseconds, over all cases."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class Latency:
    """`percentile` is p50 or p95."""

    version = "1"
    unit = "ms"
    direction: Literal["lower"] = "lower"
    needs = "clock"

    def __init__(self, percentile: Literal["p50", "p95"]) -> None:
        self.aggregate: Literal["p50", "p95"] = percentile
        self.name = f"latency_{percentile}_ms"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return output.latency_ms
