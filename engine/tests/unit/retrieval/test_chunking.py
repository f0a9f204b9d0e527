from __future__ import annotations

import random

import pytest

from sluice.data.rows import Document
from sluice.retrieval.chunking import CHUNKERS, ChunkerSettings, chunk, paragraphs, starts


def sentences(count: int, size: int, end: str = ".") -> str:
    return " ".join(" ".join(f"w{number}" for number in range(size)) + end for _ in range(count))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \n\n \n\n", []),
        ("one two", ["one two"]),
        ("one\ntwo\n\n\n  three ", ["one two", "three"]),
        ("a b. c d. e f.", ["a b. c d. e f."]),
    ],
)
def test_paragraphs(text: str, pieces: list[str]) -> None:
    assert paragraphs(text, 120) == pieces


@pytest.mark.parametrize("end", [".", "?", "!"])
def test_a_long_paragraph_is_cut_between_sentences_into_even_pieces(end: str) -> None:
    pieces = paragraphs(sentences(20, 10, end), 120)
    assert [len(piece.split()) for piece in pieces] == [110, 90]  # as even as whole sentences allow, up to a tenth
    assert all(piece.endswith(end) for piece in pieces)


def test_no_word_is_lost_or_doubled_and_pieces_keep_their_limit() -> None:
    dice = random.Random(5)
    for _ in range(200):
        text = "\n\n".join(
            " ".join(sentences(1, dice.randint(1, 30), dice.choice(".?!")) for _ in range(dice.randint(1, 30)))
            for _ in range(dice.randint(1, 4))
        )
        limit = dice.randint(40, 150)
        pieces = paragraphs(text, limit)
        assert " ".join(pieces).split() == text.split()
        # A cut is only made between sentences, so a piece may pass the limit by less than one sentence.
        assert all(0 < len(piece.split()) <= limit * 1.1 + 30 for piece in pieces)


def test_a_single_endless_sentence_stays_whole() -> None:
    text = "word " * 500
    assert paragraphs(text, 50) == [text.strip()]


def test_chunks_have_ids_of_their_document(documents: list[Document]) -> None:
    chunks = chunk(documents, ChunkerSettings())
    assert [c.id for c in chunks] == ["canary#0", "canary#1", "chunking#0", "paging#0"]
    assert {c.doc_id for c in chunks} == {document.id for document in documents}
    assert chunks[1].text == "A canary that fails goes back to weight zero."
    assert chunks[0].title == "Canary releases"


def test_every_strategy_that_settings_allow_exists() -> None:
    assert ChunkerSettings().name in CHUNKERS


@pytest.mark.parametrize("name", sorted(CHUNKERS))
@pytest.mark.parametrize("max_words", [5, 120])
def test_chunks_stand_in_their_document_where_starts_says(name: str, max_words: int) -> None:
    """Citations name places in the document: a chunker that left something out or repeated it would move them."""
    texts = ["One two. Three  four?\nFive six! Seven.\n\n\n  Eight\tnine. Ten eleven twelve.", "Other. Text here."]
    documents = [
        Document(id=f"d{number}", title="T", licence="CC0-1.0", source="tests", text=text)
        for number, text in enumerate(texts)
    ]
    chunks = chunk(documents, ChunkerSettings(name=name, max_words=max_words))  # type: ignore[arg-type]
    for one, start in zip(chunks, starts(chunks), strict=True):
        whole = " ".join(texts[int(one.doc_id[1])].split())
        assert whole[start : start + len(one.text)] == one.text


TEXT = "One two. Three four five.\n\nSix seven. Eight\nnine ten eleven twelve."


@pytest.mark.parametrize(
    ("name", "max_words", "pieces"),
    [
        ("sentences", 5, ["One two.", "Three four five.", "Six seven.", "Eight nine ten eleven twelve."]),
        ("sentences", 6, ["One two. Three four five.", "Six seven.", "Eight nine ten eleven twelve."]),
        ("sentences", 100, ["One two. Three four five. Six seven. Eight nine ten eleven twelve."]),
        ("words", 5, ["One two. Three four five.", "Six seven. Eight nine ten", "eleven twelve."]),
        ("words", 12, ["One two. Three four five. Six seven. Eight nine ten eleven twelve."]),
    ],
)
def test_other_strategies(name: str, max_words: int, pieces: list[str]) -> None:
    assert CHUNKERS[name](TEXT, max_words) == pieces


@pytest.mark.parametrize("name", list(CHUNKERS))
@pytest.mark.parametrize("max_words", [1, 3, 7, 100])
def test_every_strategy_cuts_without_gap_or_overlap(name: str, max_words: int) -> None:
    document = Document(id="d", title="T", licence="CC0-1.0", source="tests", text=TEXT)
    chunks = chunk([document], ChunkerSettings(name=name, max_words=max_words))  # type: ignore[arg-type]
    assert " ".join(each.text for each in chunks) == " ".join(TEXT.split())
    whole = " ".join(TEXT.split())
    assert all(whole[at:].startswith(each.text) for at, each in zip(starts(chunks), chunks, strict=True))
    assert CHUNKERS[name](" \n ", max_words) == []
