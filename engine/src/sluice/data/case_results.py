"""Whether a row of cases.jsonl was right, for comparisons of two results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

# A share on the other side of this is a flip: from more right than wrong to more wrong than right, or back.
RIGHT = 0.5

Flip = Literal["fixed", "broken"]


def scores_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite scores of a row by metric."""
    found = row.get("scores") or {}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def flip(before: float, after: float) -> Flip | None:
    """Whether a share crossed the middle, and in which direction.

    Args:
        before: share of right trials, 0 to 1.
        after: the same of the other result.
    """
    if (before >= RIGHT) == (after >= RIGHT):
        return None
    return "fixed" if after >= RIGHT else "broken"
