"""The sentences of passages that a question is about: a small model reads a few sentences better than many.

A sentence counts by its cosine to the question, by the place that search gave its passage, and by the share of the
question's rarer words that it holds. engine/docs/decisions/answers-by-kind.md says how the weights were chosen.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sluice.core.sentences import sentences
from sluice.retrieval.index_files import TextEncoder
from sluice.retrieval.passages import Hit

_OF_PASSAGE, _OF_WORDS = 2.9, 1.1  # beside 1 for the cosine
_REMEMBERED = 20_000  # vectors of sentences, 1.5 KiB each
_WORD = re.compile(r"\w+")
_STEM = 5  # letters by which forms of a word are taken as one


class EvidenceChooser:
    """Safe for threads. `encoder`: gives the vectors of length 1 of texts."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}

    def choose(self, question: str, hits: Sequence[Hit], number: int) -> list[Hit]:
        """The sentences that say most about a question.

        Args:
            question: of several lines the last one counts: those before are what the search needs to understand it.
            hits: the passages.
            number: of sentences at most.

        Returns:
            Each as a hit of its own, best first.
        """
        question = question.rpartition("\n")[2]
        found = [replace(hit, text=one, start=hit.start + at) for hit in hits for at, one in _placed(hit.text)]
        if not found:
            return []
        stems = [_stems(hit.text) for hit in found]
        frequency = Counter(stem for held in stems for stem in held)
        rarity = {stem: math.log((len(found) + 1) / frequency[stem]) for stem in _stems(question) if frequency[stem]}
        whole = sum(rarity.values()) or 1.0
        nearness = self._vectors([hit.text for hit in found]) @ self._encoder.embed([question])[0]
        best = max(hit.score for hit in hits)
        scores = [
            near + _OF_PASSAGE * (hit.score - best) + _OF_WORDS * sum(rarity.get(one, 0.0) for one in held) / whole
            for near, hit, held in zip(nearness, found, stems, strict=True)
        ]
        order = sorted(range(len(found)), key=lambda place: -scores[place])
        return [found[place] for place in order[:number]]

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        known = self._known
        if unknown := [text for text in dict.fromkeys(texts) if text not in known]:
            new = dict(zip(unknown, self._encoder.embed(unknown), strict=True))
            known = {**known, **new}
            self._known = known if len(known) <= _REMEMBERED else new
        return np.asarray([known[text] for text in texts])


def _stems(text: str) -> set[str]:
    return {word[:_STEM] for word in _WORD.findall(text.lower())}


def _placed(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for one in sentences(text):
        at = text.index(one, at)
        found.append((at, one))
    return found
