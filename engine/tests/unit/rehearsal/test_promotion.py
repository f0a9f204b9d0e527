"""A release takes over under load; engine/benchmarks/promotion.py sends 50,000 requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.rollout.promotion import NEW, OLD, promote

pytestmark = [pytest.mark.real, pytest.mark.drill]


def test_no_request_fails_while_a_release_takes_over(tmp_path: Path) -> None:
    found = promote(1500, tmp_path)
    assert not found.failed
    assert found.requests == found.served[OLD] + found.served[NEW] >= 1500
    assert found.served[OLD] > 400
    assert found.served[NEW] > 400
    assert found.in_flight > 0, "nobody was being answered when the old release got its signal"
    assert found.alone > 50, "nobody asked after the old release had gone"
