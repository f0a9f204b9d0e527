from __future__ import annotations

import pytest

from sluice.evaluation.stage import spread


@pytest.mark.parametrize(
    ("count", "limit", "taken"),
    [
        (4, 0, [0, 1, 2, 3]),
        (4, 4, [0, 1, 2, 3]),
        (4, 9, [0, 1, 2, 3]),
        (10, 5, [0, 2, 4, 6, 8]),
        (10, 3, [0, 3, 6]),
        (10, 1, [0]),
        (0, 3, []),
    ],
)
def test_spread_is_even_and_in_order(count: int, limit: int, taken: list[int]) -> None:
    assert spread(list(range(count)), limit) == taken


def test_spread_never_takes_a_row_twice() -> None:
    rows = list(range(150))
    for limit in range(1, 151):
        assert len(set(spread(rows, limit))) == limit
