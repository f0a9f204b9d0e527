"""The linear model of alt-profanity-check in numpy: equal probabilities, without scikit-learn and without pickles.

Words of two letters or more, weighted by rarity (TF-IDF) and scaled to length 1; five linear support vector machines,
each with its sigmoid; their mean. `export_toxicity_model.py` exports it and compares it with the original.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import mul
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_WORD = re.compile(r"\w{2,}")
_APART = {code: " " for code in range(128) if not re.match(r"\w", chr(code))}
TENSORS = ("toxicity.words", "toxicity.idf", "toxicity.weights", "toxicity.lines")


@dataclass(frozen=True)
class ToxicityModel:
    """`weights`: (machines, words); `lines`: (machines, 3) of bias, slope and offset of the sigmoid."""

    places: Mapping[str, int]
    idf: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    lines: npt.NDArray[np.float32]

    def probability(self, text: str) -> float:
        """How sure the model is that a text is insulting or obscene, from 0 to 1."""
        # In Python's own numbers: a text has few words of the list, and a dozen numpy calls cost more than they save.
        known = self.places
        counts = Counter([known[word] for word in _words(text.lower()) if word in known])
        idf, weights = self._by_word
        row = [count * idf[place] for place, count in counts.items()]
        length = max(math.sqrt(sum(map(mul, row, row))), 1e-12)
        columns = zip(*map(weights.__getitem__, counts), strict=True) if counts else repeat((), len(self.lines))
        likely = [
            sigmoid(-slope * (sum(map(mul, row, column)) / length + bias) - offset)
            for column, (bias, slope, offset) in zip(columns, self._sigmoids, strict=True)
        ]
        return sum(likely) / len(likely)

    @cached_property
    def _by_word(self) -> tuple[list[float], list[tuple[float, ...]]]:
        return self.idf.tolist(), [tuple(weights) for weights in self.weights.T.tolist()]

    @cached_property
    def _sigmoids(self) -> list[tuple[float, float, float]]:
        return [(bias, slope, offset) for bias, slope, offset in self.lines.tolist()]

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """As they are stored; the words as JSON, in the order of their places."""
        words = json.dumps(sorted(self.places, key=self.places.__getitem__), ensure_ascii=False).encode()
        stored = np.frombuffer(words, np.uint8)
        return dict(zip(TENSORS, (stored, self.idf, self.weights, self.lines), strict=True))

    @classmethod
    def of(cls, tensors: Mapping[str, Any]) -> Self:
        """ValueError when the tensors do not fit each other."""
        stored, idf, weights, lines = (tensors[name] for name in TENSORS)
        words = json.loads(stored.tobytes())
        if not idf.shape == (len(words),) == weights.shape[1:] or lines.shape != (len(weights), 3):
            raise ValueError(f"toxicity: {len(words)} words, {idf.shape}, {weights.shape}, {lines.shape}")
        return cls({word: place for place, word in enumerate(words)}, idf, weights, lines)


def _words(text: str) -> list[str]:
    """Also words of one letter where that is quicker: the list of words has none."""
    return text.translate(_APART).split() if text.isascii() else _WORD.findall(text)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -60.0), 60.0)))
