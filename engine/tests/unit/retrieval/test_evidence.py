"""The sentences of passages that a question is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sluice.retrieval import Hit
from sluice.retrieval.evidence import EvidenceChooser

TEXT = "Canaries start at 5 percent. Rollbacks take minutes, e.g. two. Nobody minds."


class Encoder:
    """Embeds a text by the words it has; keeps how many it was given."""

    def __init__(self) -> None:
        self.given = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.given += len(texts)
        return np.array([[float(word in text.lower()) for word in ("canar", "rollback", "minds")] for text in texts])


def hit(text: str, score: float = 0.5, start: int = 0) -> Hit:
    return Hit("d#0", "d", "Title", text, score, score, start)


def test_sentences_come_best_first_with_their_place() -> None:
    found = EvidenceChooser(Encoder()).choose("How long does a rollback take?", [hit(TEXT, start=100)], 2)
    assert found[0].text == "Rollbacks take minutes, e.g. two."
    assert found[0].start == 100 + TEXT.index("Rollbacks")
    assert len(found) == 2
    asked = "Do canaries start?\nAnd a rollback?"  # the last line is what is asked
    assert EvidenceChooser(Encoder()).choose(asked, [hit(TEXT)], 1)[0].text.startswith("Rollbacks")
    assert (found[0].doc_id, found[0].title) == ("d", "Title")


def test_rare_words_and_the_place_of_the_passage_count() -> None:
    chooser = EvidenceChooser(Encoder())
    assert chooser.choose("5 percent?", [hit("About this. At 5 percent.")], 1)[0].text == "At 5 percent."
    assert chooser.choose("?", [hit("First.", 0.4), hit("Second.", 0.9)], 1)[0].text == "Second."


def test_a_sentence_is_embedded_once_and_nothing_gives_nothing() -> None:
    encoder = Encoder()
    chooser = EvidenceChooser(encoder)
    for _ in range(2):
        chooser.choose("?", [hit(TEXT)], 1)
    assert encoder.given == 3 + 2
    assert chooser.choose("?", [], 3) == []
