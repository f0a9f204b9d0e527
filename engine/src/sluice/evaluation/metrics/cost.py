"""Cost of an answer in US dollars, by the prices of config/providers.yaml. Cases whose cost is known."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class Cost:
    name = "cost_usd"
    version = "1"
    unit = "USD"
    direction: Literal["lower"] = "lower"
    aggregate: Literal["mean"] = "mean"
    needs = "price"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return output.cost
