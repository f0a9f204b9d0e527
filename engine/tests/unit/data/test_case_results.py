from __future__ import annotations

import math

import pytest

from sluice.data.case_results import flip, scores_of


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [(0.4, 0.5, "fixed"), (0.5, 0.4, "broken"), (0.5, 1.0, None), (0.0, 0.49, None), (1.0, 0.0, "broken")],
)
def test_a_flip_crosses_the_middle(before: float, after: float, found: str | None) -> None:
    assert flip(before, after) == found


def test_scores_are_the_finite_numbers() -> None:
    row = {"scores": {"f1": 1, "mrr": None, "judge": math.nan, "tokens": 12.5}}
    assert scores_of(row) == {"f1": 1.0, "tokens": 12.5}
    assert scores_of({"id": "q", "scores": None}) == {}
