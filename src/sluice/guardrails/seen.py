"""A text as the checks of a stage see it: unfolded once, judged by the guard model at most once, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sluice.guardrails.unfolding import Layer, Unfolded, unfold

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Kit:
    """What checks may need beside the text. `embed`: unit-length rows, one for each text. `instructions`: what the
    application tells the model and nobody else."""

    embed: Embed | None = None
    instructions: tuple[str, ...] = ()


class Seen:
    """For one call: it is not shared between threads."""

    def __init__(self, text: str, kit: Kit) -> None:
        self.text = text
        self._kit = kit

    @cached_property
    def unfolded(self) -> Unfolded:
        return unfold(self.text)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every reading of the text, the plainest first."""
        return self.unfolded.layers
