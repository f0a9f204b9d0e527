"""Cost of an answer in US dollars, at the prices of config/providers.yaml. Cases with a known cost."""

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
