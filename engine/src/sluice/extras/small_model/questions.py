"""A question before the search: small talk, courtesies, spelling, language, and references to earlier turns."""

from __future__ import annotations

import base64
import json
import re
import zipfile
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import numpy as np

from sluice.core.text import sentences
from sluice.extras.small_model import constants
from sluice.retrieval.embedder import TokenStates, Vector


def bare(question: str) -> str:
    """Remove the start of a correction, and courtesies from a long question."""
    question = constants.CORRECTS.sub("", question) or question
    if len(question.split()) <= constants.LONG:
        return question
    rest = [constants.COURTESY.sub("", sentence).strip(" ,") for sentence in sentences(question)]
    return " ".join(text for text in rest if len(text.split()) > 3) or question


def leans(question: str) -> bool:
    """Tell whether a question needs the turn before it, or is very short."""
    return bool(constants.LEANS.search(question)) or (len(question.split()) < 4 and "are you" not in question.lower())


def is_personal(question: str) -> bool:
    """Tell whether a question may be about the assistant, or is none. Errands and long questions are not."""
    said = bool(constants.PERSONAL.search(question)) or not constants.ASKS.search(question)
    return said and len(question.split()) <= constants.LONG and not constants.ERRAND.search(question)


class Speller:
    """Corrects words that neither the documents nor `others` know to the nearest word of the documents."""

    def __init__(self, documents: Collection[str], others: Collection[str] = ()) -> None:
        self._documents = frozenset(documents)
        self._candidates = sorted(word for word in documents if constants.WORD.fullmatch(word))
        self._known = {*documents, *others}

    @classmethod
    def of(cls, index: Path, embedder: Path) -> Speller:
        """Build a speller from an index and an embedder's file; without an index it corrects nothing."""
        if not (index / "chunks.jsonl").is_file():
            return cls(())
        chunks = [json.loads(line) for line in (index / "chunks.jsonl").read_text(encoding="utf-8").splitlines()]
        texts = [f"{chunk['title']} {chunk['text']}" for chunk in chunks if chunk.get("tenant") is None]
        with zipfile.ZipFile(embedder) as archive:
            pieces = json.loads(archive.read("vocabulary.json"))
        return cls({word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())}, pieces)

    def mend(self, question: str) -> str:
        return constants.WORD.sub(lambda found: self._mended(found[0]), question)

    def is_foreign(self, question: str) -> bool:
        """Tell whether fewer than half of three words or more stand in the documents."""
        words = re.findall(r"[^\W\d_]+", question.lower())
        known = sum(word in self._documents for word in words)
        return len(self._documents) >= constants.FEW and len(words) >= 3 and 2 * known < len(words)

    def knows(self, question: str) -> bool:
        """Tell whether the documents have all words but the shortest; true if there are no documents."""
        known, words = self._documents, constants.WORD.findall(question.lower())
        return not known or all({word, word.removesuffix("s")} & known for word in words)

    def _mended(self, word: str) -> str:
        if word.lower() in self._known or word.lower().removesuffix("s") in self._known:
            return word
        alike = [one for one in self._candidates if one[0] == word[0].lower()]
        return (get_close_matches(word.lower(), alike, 1, constants.NEAR) or [word])[0]


def small_talk_figures(text: TokenStates) -> Vector:
    """The features of the small-talk regression: the mean word vector and the number of tokens."""
    mean = text.states.mean(axis=0)
    return np.append(mean / np.linalg.norm(mean), min(len(text.tokens), constants.SMALL_TALK_TOKENS) / 10)


def is_small_talk(text: TokenStates) -> bool:
    """Tell whether a message greets, thanks, or asks about the assistant; false for embedders of another dimension."""
    weights = _weights()
    if text.states.shape[1] != len(weights) - 1:
        return False
    probability = 1 / (1 + np.exp(-constants.SMALL_TALK_BIAS - weights @ small_talk_figures(text)))
    return bool(probability > constants.SMALL_TALK_LIMIT)


@cache
def _weights() -> Vector:
    vector = np.frombuffer(base64.b85decode(constants.SMALL_TALK_VECTOR), np.int8) * constants.SMALL_TALK_SCALE
    return np.append(vector, constants.SMALL_TALK_OF_TOKENS).astype(np.float32)
