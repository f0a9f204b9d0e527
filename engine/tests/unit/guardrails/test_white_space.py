"""One space for each run of white space, whatever it is made of."""

from __future__ import annotations

import sys

import pytest

from sluice.guardrails.checks.attacks import one_space


@pytest.mark.parametrize("text", ["", " ", "  a b ", "a  b", "a\tb\n", "a\u00a0b", "a\x1cb\u3000 c", "é à", "a\u200bb"])
def test_runs_of_white_space_are_one_space(text: str) -> None:
    assert one_space(text) == " ".join(text.split())


def test_no_letter_of_unicode_is_white_space_and_overlooked() -> None:
    for code in range(sys.maxunicode + 1):
        text = f"a{chr(code)}b{chr(code)}"
        assert one_space(text) == " ".join(text.split()), hex(code)
