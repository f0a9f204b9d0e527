from __future__ import annotations

import pytest

from sluice.llm.chat import Usage
from sluice.llm.settings import Prices
from sluice.llm.token_cost import cost


def test_prices_are_for_a_million_tokens() -> None:
    assert cost(Usage(2000, 500), Prices(input=3, output=15)) == pytest.approx(0.006 + 0.0075)


def test_unknown_tokens_have_no_cost_and_free_ones_cost_nothing() -> None:
    assert cost(None, Prices(input=3, output=15)) is None
    assert cost(Usage(10, 10), Prices(input=0, output=0)) == 0
