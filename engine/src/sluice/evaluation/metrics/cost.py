"""Cost of an answer in US dollars, at the prices of config/providers.yaml. Cases with a known cost."""

from sluice.evaluation.registry import Output, Row, metric


@metric(
    what="by the prices of `config/providers.yaml`",
    unit="USD",
    rows="whose tokens are known",
    needs="price",
    direction="lower",
)
def cost_usd(_row: Row, output: Output) -> float | None:
    return output.cost
