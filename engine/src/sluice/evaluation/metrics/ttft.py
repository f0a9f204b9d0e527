"""Time to the first token in milliseconds, over the cases that reached the model."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class TimeToFirstToken:
    name = "ttft_p50_ms"
    version = "1"
    unit = "ms"
    direction: Literal["lower"] = "lower"
    aggregate: Literal["p50"] = "p50"
    needs = "clock"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return output.ttft_ms
