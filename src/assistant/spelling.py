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
_NEAR = 0.75  # on the 48 articles of training: misspelt questions find their passage in 96 % in place of 81 %


class Speller:
    """`documents`: their words; `others`: more words that are right."""

    def __init__(self, documents: Collection[str], others: Collection[str] = ()) -> None:
        self._documents = sorted(documents)
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
        return cls({word for text in texts for word in _WORD.findall(text.lower())}, pieces)

    def mend(self, question: str) -> str:
        """The question with its wrong words replaced."""
        return _WORD.sub(lambda found: self._mended(found[0]), question)

    def _mended(self, word: str) -> str:
        if word.lower() in self._known or word.lower().removesuffix("s") in self._known:
            return word
        return (get_close_matches(word.lower(), self._documents, 1, _NEAR) or [word])[0]
