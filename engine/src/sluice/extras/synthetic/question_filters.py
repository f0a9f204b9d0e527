"""Parses a teacher's reply, and filters out unsuitable questions and answers.

All filters look at the texts alone. The round trip through a model is in generate_rows.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sluice.data import privacy
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.near_duplicates import words

_FEWEST_WORDS = 3
_POINTS_AT_PASSAGE = re.compile(r"\b(?:the|this|that|given|above)\s+(?:passage|paragraph|excerpt|text|article)\b", re.I)


@dataclass(frozen=True)
class QuestionCandidate:
    """A question and its answer. Read from a reply, the answer is as the teacher wrote it."""

    question: str
    answer: str


def read_reply(reply: str) -> tuple[list[QuestionCandidate], int]:
    """The candidates in a reply, and how many objects in it are none.

    Objects may stand one a line, in a list, or between the marks of a code block: models do all of these.
    """
    decoder = json.JSONDecoder()
    found: list[QuestionCandidate] = []
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
            found.append(QuestionCandidate(question, answer))
        else:
            broken += 1
    return found, broken


def _text(value: Any, key: str) -> str:
    said = value.get(key)
    return " ".join(said.split()) if isinstance(said, str) else ""


def span(answer: str, text: str) -> str | None:
    """The answer as `text` writes it, as whole words; None where it does not."""
    said = answer.strip().strip("\"'“”").rstrip(".").strip()
    if not said:
        return None
    left = r"(?<![0-9A-Za-z])" if _in_word(said[0]) else ""
    right = r"(?![0-9A-Za-z])" if _in_word(said[-1]) else ""
    found = re.search(left + r"\s+".join(map(re.escape, said.split())) + right, text, re.IGNORECASE)
    return found[0] if found else None


def _in_word(character: str) -> bool:
    """Scripts that write no spaces have no border of words to look for."""
    return character.isascii() and character.isalnum()


def fault(candidate: QuestionCandidate, passage: str, *, most_words: int, policy: PrivacyPolicy) -> str | None:
    """Why a candidate is not good enough; None when it is."""
    if span(candidate.answer, passage) is None:
        return "the answer is no span of its passage"
    if len(candidate.answer.split()) > most_words:
        return f"the answer is longer than {most_words} words"
    if len(words(candidate.question)) < _FEWEST_WORDS:
        return "the question is too short"
    if span(candidate.answer, candidate.question) is not None:
        return "the question holds its answer"
    if _POINTS_AT_PASSAGE.search(candidate.question):
        return "the question speaks of its passage"
    if next(privacy.findings(f"{candidate.question}\n{candidate.answer}", policy), None):
        return "personal data or secret"
    return None
