"""The sentences of passages that a question is about, and the doubt that they answer it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sluice.extras.small_model import evidence_reader
from sluice.extras.small_model.evidence_reader import EvidenceReader
from sluice.retrieval import Hit
from sluice.retrieval.embedder import TokenStates

TEXT = "Canaries start at 5 percent. Rollbacks take minutes, e.g. two. Nobody minds."
WORDS = ("canar", "rollback", "minds", "percent")
RARE = 30_000  # a number in the vocabulary


class Encoder:
    """A word's vector says which of WORDS it begins with; all others are alike."""

    def __init__(self) -> None:
        self.given = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError(f"words are compared, not texts: {texts}")

    def token_states(self, texts: Sequence[str]) -> list[TokenStates]:
        self.given += len(texts)
        return [self._states(text.lower().replace(".", " .").replace("?", " ?").split()) for text in texts]

    def _states(self, tokens: list[str]) -> TokenStates:
        known = [next((place for place, one in enumerate(WORDS) if word.startswith(one)), None) for word in tokens]
        vectors = [np.eye(len(WORDS) + 1)[len(WORDS) if place is None else place] for place in known]
        return TokenStates(tokens, [1996 if place is None else RARE for place in known], np.array(vectors))


def hit(text: str, score: float = 0.5, start: int = 0) -> Hit:
    return Hit("d#0", "d", "Title", text, score, score, start)


def test_sentences_come_best_first_with_their_place() -> None:
    found = EvidenceReader(Encoder()).read("How long does a rollback take?", [hit(TEXT, start=100)], 2).sentences
    assert found[0].text == "Rollbacks take minutes, e.g. two."
    assert found[0].start == 100 + TEXT.index("Rollbacks")
    assert len(found) == 2
    assert (found[0].doc_id, found[0].title) == ("d", "Title")
    asked = "Do canaries start?\nAnd a rollback?"  # the last line is what is asked
    assert EvidenceReader(Encoder()).read(asked, [hit(TEXT)], 1).sentences[0].text.startswith("Rollbacks")


def test_repeated_words_and_the_place_of_the_passage_count() -> None:
    reader = EvidenceReader(Encoder())
    repeated = reader.read("5 percent?", [hit("About this. At 5 percent.")], 1).sentences
    assert repeated[0].text == "At 5 percent."
    assert reader.read("?", [hit("First.", 0.4), hit("Second.", 0.9)], 1).sentences[0].text == "Second."


def test_a_further_sentence_is_the_one_that_adds_most() -> None:
    reader = EvidenceReader(Encoder())
    passages = [hit("Canaries start at 5 percent. Canaries reach 5 percent. Rollbacks of nobody.")]
    chosen = reader.read("canaries percent rollbacks", passages, 2).sentences
    assert [one.text for one in chosen] == ["Canaries start at 5 percent.", "Rollbacks of nobody."]


@pytest.mark.parametrize(
    ("question", "more"),
    [
        ("How do canaries start?", 1),
        ("How many canaries start?", 0),
        ("Do canaries or rollbacks start?", 1),
        ("Do canaries start?\nAnd at percent?", 1),
        ("We have canaries, " + "and canaries, " * 10 + "so where do they start?", 1),
    ],
)
def test_reasons_steps_comparisons_stories_and_second_turns_take_a_sentence_more(question: str, more: int) -> None:
    assert len(EvidenceReader(Encoder()).read(question, [hit(TEXT)], 2).sentences) == 2 + more
    assert EvidenceReader(Encoder()).read(question, [hit(TEXT)], 0).sentences == []


@pytest.mark.parametrize(
    "question",
    [
        "What is a canary?",
        "canary, meaning?",
        "can't canaries start",
        "At percent. So won't canaries start?",
    ],
)
def test_a_definition_and_a_yes_or_no_take_a_sentence_more_where_they_are_short(question: str) -> None:
    at_length = hit(TEXT.replace("Rollbacks take", "Rollbacks of " + "very " * 60 + "many kinds take"))
    assert len(EvidenceReader(Encoder()).read(question, [hit(TEXT)], 2).sentences) == 3
    assert len(EvidenceReader(Encoder()).read(f"{question} rollbacks", [at_length], 2).sentences) == 2
    assert len(EvidenceReader(Encoder()).read("Which canaries start?", [hit(TEXT)], 2).sentences) == 2


def first(question: str, *texts: str) -> str:
    return EvidenceReader(Encoder()).read(question, [hit(text) for text in texts], 1).sentences[0].text


def test_a_reason_beside_the_words_of_the_question_is_preferred_where_it_asks_why() -> None:
    reason = "It waits since nobody minds."
    asked, passages = "{} rollbacks percent?", ("Canaries wait. As said.", f"Rollbacks at percent. {reason}")
    assert {first(asked.format(one), *passages) for one in ("do", "why")} == {"Rollbacks at percent."}
    asked = "{} 7?"  # whose words stand nowhere
    assert first(asked.format("do"), *passages) == "Canaries wait."
    assert first(asked.format("why"), *passages) == reason


def test_what_the_reply_before_has_said_is_not_said_again() -> None:
    passages = ("Canaries start at percent.", "Canaries finish at percent.")
    assert first("canaries percent?", *passages) == passages[0]
    assert first("canaries?\nThey start at percent, canaries do.\nno, canaries percent?", *passages) == passages[1]
    assert first("They start at percent, canaries do.\nNo.\nno, canaries percent?", *passages) == passages[0]


def test_small_talk_is_shown_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_reader, "is_small_talk", lambda text: text.tokens[0] == "hello")
    for asked, shown in (
        ("Hello canaries", 0),
        ("canaries\nHello", 0),
        ("canaries\nHello?", 3),
        ("Hello\ncanaries", 3),
    ):
        evidence = EvidenceReader(Encoder()).read(asked, [hit(TEXT)], 2)
        assert (len(evidence.sentences), evidence.doubt == 0) == (shown, not shown)


def test_doubt_grows_with_the_rare_words_that_no_sentence_says() -> None:
    reader = EvidenceReader(Encoder())
    passages = [hit("Canaries start at 5 percent."), hit("As said.", 0.4)]
    said, partly, unsaid = (
        reader.read(asked, passages, 3)
        for asked in ("do canaries start at 5 percent", "do rollbacks start at 5 percent", "rollbacks nobody minds")
    )
    assert said.figures[0] == 0 < partly.figures[0] < unsaid.figures[0]  # the rarity of what is missing
    assert said.doubt < partly.doubt < 0.5 < unsaid.doubt
    close, ahead = (reader.read("rollbacks", [hit("Nobody minds."), hit("As said.", of)], 1) for of in (0.49, 0.3))
    assert close.doubt > ahead.doubt, "it shrinks with the lead of the best passage"


def test_a_sentence_is_read_once_and_no_passage_gives_nothing() -> None:
    encoder = Encoder()
    reader = EvidenceReader(encoder)
    for _ in range(2):
        reader.read("?", [hit(TEXT)], 1)
    assert encoder.given == 3 + 2
    nothing = reader.read("?", [], 3)
    assert (nothing.sentences, nothing.doubt) == ([], 1.0)
