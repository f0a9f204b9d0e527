from __future__ import annotations

from sluice.guardrails.checks.attacks import LengthOptions
from support.guardrails import finder

find = finder("length")


def test_the_limit_itself_passes_and_one_more_does_not() -> None:
    options = LengthOptions(max_characters=5)
    assert find("12345", options) == []
    assert [(f.reason, f.start, f.end) for f in find("123456", options)] == [("length.too_long", 5, 6)]
