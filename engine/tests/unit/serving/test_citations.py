from __future__ import annotations

import pytest

from sluice.serving.answer import cite, first_words
from support.serving.fakes import hit

PASSAGE = "Canary steps: start at 5 %, then 25 %. The ﬁrst step lasts ten minutes; the second, one hour."


@pytest.mark.parametrize(
    ("answer", "span"),
    [
        ("ten minutes", "ten minutes"),
        ("Ten  minutes.", "ten minutes"),
        ("5 %, then 25 %", "5 %, then 25"),
        ("the FIRST step", "The ﬁrst step"),
        ("“one hour”", "one hour"),
        ("minutes the second one", "minutes; the second, one"),
    ],
)
def test_the_span_is_the_wording_of_the_passage(answer: str, span: str) -> None:
    (citation,) = cite(answer, [hit(PASSAGE)])
    assert citation.text == span == PASSAGE[citation.start : citation.end]


@pytest.mark.parametrize("answer", ["", "...", "ten", "two minutes", "minute", "one hour and more"])
def test_words_that_do_not_stand_in_a_row_are_not_cited(answer: str) -> None:
    expected = 1 if answer == "ten" else 0
    assert len(cite(answer, [hit(PASSAGE)])) == expected


def test_every_passage_that_holds_the_answer_is_cited_once() -> None:
    hits = [hit("a b. a b.", doc_id="one"), hit("nothing", doc_id="two"), hit("x A B", doc_id="three")]
    assert [(c.document, c.start, c.score) for c in cite("a b", hits)] == [("one", 0, 0.45), ("three", 2, 0.45)]


def test_sentences_of_several_places_are_cited_one_by_one() -> None:
    hits = [hit("First this. And more. Then that.", doc_id="one"), hit("Always so.", doc_id="two")]
    found = cite("1. First this.\n2. Always so. Then that.", hits)
    assert [(c.document, c.text) for c in found] == [("one", "First this"), ("two", "Always so"), ("one", "Then that")]
    assert cite("First this. Nowhere.", hits)[0].text == "First this"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The handbook does not say.", True),
        ("the HANDBOOK does  not say", True),
        ("The handbook does not say.\n\nWhat comes nearest:\n\n1. Five percent.", True),
        ("\nThe handbook does not say\n", True),
        ("The handbook does not say. It is five percent.", False),
        ("The handbook does not", False),
        ("I fear that the handbook does not say.", False),
        ("", False),
    ],
)
def test_an_answer_declines_whose_first_line_is_the_decline_text(answer: str, expected: bool) -> None:
    assert (first_words(answer) == first_words("The handbook does not say.")) is expected
