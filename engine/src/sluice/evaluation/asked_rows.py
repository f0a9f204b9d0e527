"""Which rows an evaluation asks. Apart from asking them: the check of the data needs no model to know."""

from __future__ import annotations

from pydantic import Field

from sluice.core.params import load_params
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows


class EvaluateParameters(Settings):
    """`workers`: models that answer side by side; `limit`: ask only N cases, evenly spread, 0 asks all; `trials`:
    answers to each question where the prompt is sampled."""

    workers: int = Field(2, ge=1)
    limit: int = Field(0, ge=0)
    trials: int = Field(3, ge=1)


def rows_of(workspace: Workspace) -> list[Row]:
    """The rows that an evaluation of this checkout asks: data/eval.jsonl, or as many of it as the parameters say."""
    parameters = load_params(workspace.params, "evaluate", EvaluateParameters)
    return spread(load_rows(workspace.data / "eval.jsonl"), parameters.limit)


def spread(rows: list[Row], limit: int) -> list[Row]:
    """Takes rows at even distances."""
    if not 0 < limit < len(rows):
        return rows
    return [rows[number * len(rows) // limit] for number in range(limit)]
