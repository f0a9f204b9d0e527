from __future__ import annotations

import pytest

from sluice.evaluation.text import normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  The Canary,\n gets  A share. ", "canary gets share"),
        ("another theme", "another theme"),  # articles only as whole words
        ("10 %", "10"),
        ("the", ""),
        ("", ""),
        ("ÉTÉ", "été"),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal
    assert normalise(normal) == normal
