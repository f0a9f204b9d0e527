from __future__ import annotations

import pytest

from sluice.serving.runner import SentenceSplitter

TEXT = 'One is 3.14 long. "Two!" Three?) \n\n Four… five e.g. six\n seven'
SENTENCES = ["One is 3.14 long.", ' "Two!"', " Three?)", " \n\n Four…", " five e.g.", " six\n seven"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_cut_does_not_depend_on_the_pieces(size: int) -> None:
    sentences = SentenceSplitter()
    found = [s for start in range(0, len(TEXT), size) for s in sentences.feed(TEXT[start : start + size])]
    assert [*found, sentences.rest()] == SENTENCES
    assert sentences.rest() == ""


def test_a_mark_at_the_end_of_a_piece_waits_for_what_follows() -> None:
    sentences = SentenceSplitter()
    assert sentences.feed("Version 3.") == []
    assert sentences.feed("11 is used. ") == ["Version 3.11 is used."]


def test_a_mark_between_letters_that_stand_apart_ends_nothing() -> None:
    sentences = SentenceSplitter()
    apart = "   ".join(" ".join(word) for word in ("at", "me@example.org."))
    assert sentences.feed(f"It is {apart} ") == []
    assert sentences.feed("All of it. ") == [f"It is {apart} All of it."]
