"""Tokens of prompt and answer together, over the cases that reached the model."""

from sluice.data.rows import Row
from sluice.evaluation.output import Metric, Output
from sluice.evaluation.registry import metric


@metric
class Tokens(Metric):
    name = "tokens"
    what = "tokens of prompt and answer"
    unit = "tokens"
    rows = "that reached the model"
    direction = "lower"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        total = output.prompt_tokens + output.completion_tokens
        return float(total) if total else None
