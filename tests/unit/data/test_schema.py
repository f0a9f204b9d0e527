"""Whether an answer occurs in a text."""

from __future__ import annotations

import pytest

from sluice.data.schema import occurs


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("twice a day", "It turns\ntwice  a day.", True),
        ("constrained decoding", "Constrained decoding enforces it.", True),
        ("5", "About 15 percent, then 5 more.", True),
        ("5", "About 15 percent, or 50.", False),
        ("chunk", "Chunks overlap.", False),
        ("$5", "It costs US$5 today.", True),
        ("起", "何が起きる", True),
        ("", "anything", False),
    ],
)
def test_occurs(answer: str, text: str, found: bool) -> None:
    assert occurs(answer, text) is found
