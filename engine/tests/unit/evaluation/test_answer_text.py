from __future__ import annotations

import pytest

from sluice.core.text import sentences
from sluice.evaluation.answer_text import fold, normalise


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("It took 3.5 s. Then it ended", ["It took 3.5 s.", "Then it ended"]),
        ("Use a cache, e.g. Redis. It helps.", ["Use a cache, e.g. Redis.", "It helps."]),
        ("- one\n- two\n\n- three", ["- one", "- two", "- three"]),
        ("一日二回。二週間。", ["一日二回。", "二週間。"]),
        ("64 tokens", ["64 tokens"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


@pytest.mark.parametrize(
    ("text", "folded"), [("A  b\n C.", "a b c."), ("ﬁve", "five"), ("e\u0301", "é"), ("Straße", "strasse"), ("", "")]
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded
