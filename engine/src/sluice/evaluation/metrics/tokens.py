"""Tokens of prompt and answer together, over the cases that reached the model."""

from typing import Literal

from sluice.data.rows import Row
from sluice.evaluation.output import Output


class Tokens:
    name = "tokens"
    version = "1"
    unit = "tokens"
    direction: Literal["lower"] = "lower"
    aggregate: Literal["mean"] = "mean"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        total = output.prompt_tokens + output.completion_tokens
        return float(total) if total else None
