"""The rows that an evaluation asks, and their order. Needs no model, so that the check of the data can use it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.params import load_params
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, load_rows

_SALT = "sluice asking order 1"


class EvaluateParameters(Settings):
    """`workers` models answer side by side; `limit` cases, evenly spread (0: all); `trials` of a sampled prompt."""

    workers: int = Field(2, ge=1)
    limit: int = Field(0, ge=0)
    trials: int = Field(3, ge=1)


def rows_of(workspace: Workspace) -> list[Row]:
    """Return the rows that an evaluation of this checkout asks."""
    parameters = load_params(workspace.params, "evaluate", EvaluateParameters)
    return spread(load_rows(workspace.data / "eval.jsonl"), parameters.limit)


def spread(rows: list[Row], limit: int) -> list[Row]:
    if not 0 < limit < len(rows):
        return rows
    return [rows[number * len(rows) // limit] for number in range(limit)]


def asking_order(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by a digest of id and question, so that nobody chooses which cases come first."""
    return sorted(rows, key=lambda row: hashlib.sha256(json.dumps([_SALT, row.id, row.question]).encode()).digest())


def require_rows(rows: Sequence[Row]) -> None:
    """Raise ValidationErrors that name every row that can't be evaluated, or SluiceError when there is none."""
    if not rows:
        raise SluiceError("the evaluation set is empty", remedy="a verdict needs cases: add rows to data/eval.jsonl")
    faults = [f"{name!r}: {uses} rows have this id" for name, uses in Counter(r.id for r in rows).items() if uses > 1]
    contradicting = [row.id for row in rows if row.doc_ids and not row.answerable]
    faults += [f"{name!r}: it has no answers (decline) but names documents" for name in contradicting]
    if faults:
        raise ValidationErrors(
            "the evaluation set", faults, remedy="fix the rows; `sluice data check` says where they stand"
        )
