from __future__ import annotations

import random
from typing import Any, get_args

import pytest

from sluice.data.rows import Document
from sluice.retrieval.index_files import ChunkerSettings, chunk, starts

NAMES = get_args(ChunkerSettings.model_fields["name"].annotation)


def pieces(text: str, max_words: int = 120, name: Any = "paragraph") -> list[str]:
    """The texts of a document's chunks."""
    document = Document(id="d", title="T", licence="CC0-1.0", source="tests", text=text)
    return [each.text for each in chunk([document], ChunkerSettings(name=name, max_words=max_words))]


def sentences(count: int, size: int, end: str = ".") -> str:
    return " ".join(" ".join(f"w{number}" for number in range(size)) + end for _ in range(count))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n \n\n", []),
        ("one two", ["one two"]),
        ("one\ntwo\n\n\n  three ", ["one two", "three"]),
        ("a b. c d. e f.", ["a b. c d. e f."]),
    ],
)
def test_paragraphs(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


@pytest.mark.parametrize("end", [".", "?", "!"])
def test_a_long_paragraph_is_cut_between_sentences(end: str) -> None:
    found = pieces(sentences(20, 10, end))
    assert [len(piece.split()) for piece in found] == [120, 80]
    assert all(piece.endswith(end) for piece in found)


def test_no_word_is_lost_or_doubled_and_pieces_keep_their_limit() -> None:
    dice = random.Random(5)
    for _ in range(200):
        text = "\n\n".join(
            " ".join(sentences(1, dice.randint(1, 30), dice.choice(".?!")) for _ in range(dice.randint(1, 30)))
            for _ in range(dice.randint(1, 4))
        )
        limit = dice.randint(40, 150)
        found = pieces(text, limit)
        assert " ".join(found).split() == text.split()
        assert all(0 < len(piece.split()) <= limit for piece in found)


def test_chunks_have_ids_of_their_document(documents: list[Document]) -> None:
    chunks = chunk(documents, ChunkerSettings())
    assert [c.id for c in chunks] == ["canary#0", "canary#1", "chunking#0", "paging#0"]
    assert {c.doc_id for c in chunks} == {document.id for document in documents}
    assert chunks[1].text == "A canary that fails goes back to weight zero."
    assert chunks[0].title == "Canary releases"


TEXT = "One two. Three four five.\n\nSix seven. Eight\nnine ten eleven twelve."


@pytest.mark.parametrize(
    ("name", "max_words", "expected"),
    [
        ("sentences", 5, ["One two. Three four five.", "Six seven.", "Eight nine ten eleven twelve."]),
        ("sentences", 7, ["One two. Three four five. Six seven.", "Eight nine ten eleven twelve."]),
        ("sentences", 100, ["One two. Three four five. Six seven. Eight nine ten eleven twelve."]),
        ("words", 5, ["One two. Three four five.", "Six seven. Eight nine ten", "eleven twelve."]),
        ("words", 12, ["One two. Three four five. Six seven. Eight nine ten eleven twelve."]),
    ],
)
def test_other_strategies(name: str, max_words: int, expected: list[str]) -> None:
    assert pieces(TEXT, max_words, name) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_words", [1, 3, 7, 100])
def test_every_strategy_cuts_without_gap_or_overlap(name: Any, max_words: int) -> None:
    document = Document(id="d", title="T", licence="CC0-1.0", source="tests", text=TEXT)
    chunks = chunk([document], ChunkerSettings(name=name, max_words=max_words))
    whole = " ".join(TEXT.split())
    assert " ".join(each.text for each in chunks) == whole
    assert all(whole[at:].startswith(each.text) for at, each in zip(starts(chunks), chunks, strict=True))
    assert pieces(" \n ", max_words, name) == []
