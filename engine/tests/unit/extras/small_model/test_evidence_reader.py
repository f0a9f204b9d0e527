"""The sentences of passages that a question is about, and the doubt that they answer it; and with the real embedder
which questions are small talk."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from sluice.extras.small_model import evidence_reader
from sluice.extras.small_model.evidence_reader import EvidenceReader, PassageEvidence
from sluice.extras.small_model.questions import is_small_talk
from sluice.retrieval import Hit
from sluice.retrieval.embedder import Embedder, TokenStates

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


PASSAGES = {
    "Soak tests": "A soak test holds a moderate load for twelve hours. Start it so that one token refresh is inside. "
    "A memory slope above 1 percent per hour fails the run.",
    "Adapters": "The default rank of a LoRA adapter is 8. Raise the rank only if the training loss stalls. "
    "A larger rank makes it easier to memorise a small dataset.",
    "On call": "Declare an incident when a problem is not understood after 10 minutes. Nobody holds a role for longer "
    "than 4 hours, because tired people take risks.",
    "Chunks": "Neighbouring chunks share 64 tokens. Put the title of the document in front of every chunk.",
    "Caches": "Put the prompt version into the key of the cache. A cached answer lives for 24 hours.",
}
ANSWERED = {  # what the first or second sentence must say
    "When does a soak test fail because of memory?": "1 percent",
    "what rank does lora start with": "is 8",
    "Why should I not take a larger rank?": "memorise",
    "overlap of chunks": "64 tokens",
}
UNANSWERED = (
    "Should I use k6 or Locust for a soak test?",
    "Which paging vendor should we buy, Opsgenie or PagerDuty?",
    "How do I extract chunks from scanned PDF files with Tesseract?",
    "Can Redis or Memcached be the cache?",
)


@pytest.fixture(scope="module")
def embedder(models) -> Iterator[Embedder]:
    with Embedder(models.embed) as opened:
        yield opened


def read(embedder: Embedder, question: str) -> PassageEvidence:
    vectors = embedder.embed([f"{title}\n{text}" for title, text in PASSAGES.items()])
    scores = vectors @ embedder.embed([question])[0]
    hits = [Hit(t, t, t, text, float(s), float(s)) for (t, text), s in zip(PASSAGES.items(), scores, strict=True)]
    return EvidenceReader(embedder).read(question, sorted(hits, key=lambda hit: -hit.score), 2)


@pytest.mark.real
def test_the_sentences_that_answer_are_chosen_and_questions_without_an_answer_are_doubted(embedder: Embedder) -> None:
    for question, said in ANSWERED.items():
        evidence = read(embedder, question)
        assert said in " ".join(hit.text for hit in evidence.sentences)
        assert evidence.doubt < 0.65, question
    assert [question for question in UNANSWERED if read(embedder, question).doubt <= 0.65] == []


SMALL_TALK = (
    "hi!",
    "who am I speaking with?",
    "What topics does this assistant cover?",
    "that's it, bye",
    "tell me what you're for",
)
NO_SMALL_TALK = (
    "When are you supposed to page someone?",
    "Thanks, and how long does that take?",
    "Do you know what a canary release is?",
    "Could you write down the steps of a restore drill?",
    "who reads them?",
)


@pytest.mark.real
def test_small_talk_is_told_from_questions(embedder: Embedder) -> None:
    assert [one for one in SMALL_TALK if not is_small_talk(embedder.token_states([one])[0])] == []
    assert [one for one in NO_SMALL_TALK if is_small_talk(embedder.token_states([one])[0])] == []
