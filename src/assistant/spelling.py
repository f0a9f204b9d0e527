"""Mends the words of a question that nobody writes so: `bacth size` finds little, `batch size` finds its passage.

Only the search sees the mended question. A word is wrong where neither the documents nor the embedder know it, and it
becomes the word of the documents that is most like it, where one is near.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

_WORD = re.compile(r"[^\W\d_]{4,}")  # shorter ones have too many neighbours
_FEW = 1000  # words; documents with fewer do not show what their language looks like
_NEAR = 0.75  # on the 48 articles of training: misspelt questions find their passage in 96 % in place of 81 %


class Speller:
    """`documents`: their words; `others`: more words that are right."""

    def __init__(self, documents: Collection[str], others: Collection[str] = ()) -> None:
        self._documents = frozenset(documents)
        self._candidates = sorted(word for word in documents if _WORD.fullmatch(word))
        self._known = {*documents, *others}

    @classmethod
    def of(cls, index: Path, embedder: Path) -> Speller:
        """For an index of the shared documents, and an embedder's file. Without an index nothing is mended."""
        if not (index / "chunks.jsonl").is_file():
            return cls(())
        chunks = [json.loads(line) for line in (index / "chunks.jsonl").read_text(encoding="utf-8").splitlines()]
        texts = [f"{chunk['title']} {chunk['text']}" for chunk in chunks if chunk.get("tenant") is None]
        with zipfile.ZipFile(embedder) as archive:
            pieces = json.loads(archive.read("vocabulary.json"))
        return cls({word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())}, pieces)

    def mend(self, question: str) -> str:
        """The question with its wrong words replaced."""
        return _WORD.sub(lambda found: self._mended(found[0]), question)

    def is_foreign(self, question: str) -> bool:
        """Whether at most half of three words or more stand in the documents: the question is in another language, or
        about something else. On the training rows true of 38 of 51 in other languages, and of 4 of 1,056 that are
        answered."""
        words = re.findall(r"[^\W\d_]+", question.lower())
        known = sum(word in self._documents for word in words)
        return len(self._documents) >= _FEW and len(words) >= 3 and 2 * known <= len(words)

    def _mended(self, word: str) -> str:
        if word.lower() in self._known or word.lower().removesuffix("s") in self._known:
            return word
        return (get_close_matches(word.lower(), self._candidates, 1, _NEAR) or [word])[0]
