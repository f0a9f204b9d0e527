"""With the real embedder: what is chosen of passages, and which questions are doubted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluice.extras.small_model.evidence_reader import EvidenceReader, PassageEvidence
from sluice.extras.small_model.questions import is_small_talk
from sluice.retrieval import Hit
from sluice.retrieval.embedder import Embedder

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
