"""Cost of an answer in US dollars, by the prices of config/providers.yaml. Cases whose cost is known."""

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


@metric
class Cost(Metric):
    name = "cost_usd"
    what = "by the prices of `config/providers.yaml`"
    unit = "USD"
    rows = "whose tokens are known"
    needs = "price"
    direction = "lower"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return output.cost
