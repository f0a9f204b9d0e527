"""Source passages, and the questions that a teacher writes about them: parsed, and filtered by the texts alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.data import privacy
from sluice.data.near_duplicates import words
from sluice.data.privacy import PrivacyPolicy
from sluice.data.rows import Document, Row
from sluice.retrieval.index_files import ChunkerSettings, chunk

_FEWEST_WORDS = 12  # a heading or a list of names holds no question worth asking
_FEWEST_IN_QUESTION = 3
_MOST_IN_ANSWER = 12
_POINTS_AT_PASSAGE = re.compile(r"\b(?:the|this|that|given|above)\s+(?:passage|paragraph|excerpt|text|article)\b", re.I)


@dataclass(frozen=True)
class SourcePassage:
    """A piece of a document, cut as the index cuts it: what training and serving show the model."""

    document: Document
    text: str


def choose(
    corpus: Sequence[Document], evaluation: Sequence[Row], chunker: ChunkerSettings, *, seed: int
) -> list[SourcePassage]:
    """Return all passages that may be used, in an order drawn by `seed`.

    An article is what has one title, however many documents it is cut into. Articles with a document that an evaluation
    row names are left out whole, and so are documents of one tenant: the model answers everybody. SluiceError when
    nothing is left.
    """
    asked = {name for row in evaluation for name in row.doc_ids}
    measured = {document.title for document in corpus if document.id in asked}
    usable = [document for document in corpus if document.tenant is None and document.title not in measured]
    pieces = [(document, piece.text) for document in usable for piece in chunk([document], chunker)]
    found = [SourcePassage(document, text) for document, text in pieces if len(text.split()) >= _FEWEST_WORDS]
    random.Random(seed).shuffle(found)
    if not found:
        what = f"{len(corpus) - len(usable)} are of articles that evaluation asks about, or of one tenant"
        raise SluiceError(
            f"none of {len(corpus)} documents may be used: {what}",
            remedy="add documents to data/corpus that no row of data/eval.jsonl names",
        )
    return found


def read_reply(reply: str) -> tuple[list[tuple[str, str]], int]:
    """Return the questions in a reply with their answers, and how many objects in it are none.

    Objects may stand one a line, in a list, or between the marks of a code block: models do all of these.
    """
    decoder = json.JSONDecoder()
    found: list[tuple[str, str]] = []
    broken = at = 0
    while (at := reply.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            broken += 1
            at = reply.find("\n", at) if "\n" in reply[at:] else len(reply)
            continue
        question, answer = _text(value, "question"), _text(value, "answer")
        if question and answer:
            found.append((question, answer))
        else:
            broken += 1
    return found, broken


def _text(value: Any, key: str) -> str:
    said = value.get(key)
    return " ".join(said.split()) if isinstance(said, str) else ""


def span(answer: str, text: str) -> str | None:
    """Return the answer as `text` writes it, as whole words; None where it does not."""
    said = answer.strip().strip("\"'“”").rstrip(".").strip()
    if not said:
        return None
    pattern = r"\s+".join(map(re.escape, said.split()))
    found = re.search(rf"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])", text, re.IGNORECASE)
    return found[0] if found else None


def fault(question: str, answer: str, passage: str, policy: PrivacyPolicy) -> str:
    """Return why a question and its answer are not good enough; empty when they are."""
    if span(answer, passage) is None:
        return "the answer is no span of its passage"
    if len(answer.split()) > _MOST_IN_ANSWER:
        return f"the answer is longer than {_MOST_IN_ANSWER} words"
    if len(words(question)) < _FEWEST_IN_QUESTION:
        return "the question is too short"
    if span(answer, question) is not None:
        return "the question holds its answer"
    if _POINTS_AT_PASSAGE.search(question):
        return "the question speaks of its passage"
    found = next(privacy.findings(f"{question}\n{answer}", policy), None)
    return "personal data or secret" if found else ""
