"""The second step of the guard model: a linear softmax over categories of attacks and of honest texts.

A single boundary between attacks and honest texts would have to fit insults in a play and instructions in a document
alike. With one boundary for each category, an attack need only match one category, and an honest text one honest
category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

DIMENSION = 384
TENSORS = ("kinds.weights", "kinds.biases", "kinds.attack", "kinds.line")
Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class KindModel:
    """`weights`: (kinds, 1 + DIMENSION), of the margin of the n-grams and of the embedding. `biases`: (kinds,).
    `attack`: (kinds,), which of them are attacks. `line`: slope and offset of the sigmoid that makes odds a
    probability."""

    weights: Floats
    biases: Floats
    attack: npt.NDArray[np.bool_]
    line: tuple[float, float]

    def odds(self, margins: Sequence[float] | Floats, vectors: Floats) -> Floats:
        """How much more likely some kind of attack is than some honest kind, as logarithms, shape (texts,)."""
        likely = np.column_stack([margins, vectors]) @ self.weights.T + self.biases
        return _any(likely[:, self.attack]) - _any(likely[:, ~self.attack])

    def probabilities(self, margins: Sequence[float], vectors: Floats) -> Floats:
        """P(attack) for each text; NaN stays NaN."""
        slope, offset = self.line
        return 1 / (1 + np.exp(-np.clip(slope * self.odds(margins, vectors) + offset, -60, 60)))

    def tensors(self) -> dict[str, Floats]:
        """As they are stored."""
        stored = (self.weights, self.biases, self.attack, np.asarray(self.line, np.float32))
        return dict(zip(TENSORS, stored, strict=True))

    @classmethod
    def of(cls, tensors: Mapping[str, Any]) -> Self:
        """ValueError when the tensors do not fit each other, or know no attacks or nothing honest."""
        weights, biases, attack, line = (tensors[name] for name in TENSORS)
        shapes = (weights.shape, biases.shape, attack.shape, line.shape)
        kinds = len(biases)
        if shapes != ((kinds, 1 + DIMENSION), (kinds,), (kinds,), (2,)):
            raise ValueError(f"kinds.weights and the others have the shapes {', '.join(map(str, shapes))}")
        if attack.dtype != np.bool_ or attack.all() or not attack.any():
            raise ValueError("kinds.attack does not tell attacks from honest texts")
        return cls(weights, biases, attack, (float(line[0]), float(line[1])))


def _any(likely: Floats) -> Floats:
    found: Floats = np.logaddexp.reduce(likely, axis=1)
    return found
