"""A text as the checks of a stage see it: unfolded once, judged by the guard model at most once, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sluice.core.errors import SluiceError
from sluice.guardrails.unfolding import Layer, Unfolded, unfold

if TYPE_CHECKING:
    from sluice.guardrails.model import GuardModel, Judged

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Kit:
    """What checks may need beside the text. `embed`: unit-length rows, one for each text. `instructions`: what the
    application tells the model and nobody else."""

    model: GuardModel | None = None
    embed: Embed | None = None
    instructions: tuple[str, ...] = ()

    def require_model(self, check: str) -> GuardModel:
        """SluiceError when the release has no guard model."""
        if self.model is None:
            raise SluiceError(
                f"config/guardrails.yaml: {check} needs the guard model, and there is none",
                remedy="run the guard stage (`sluice guard train`), or take the check out of config/guardrails.yaml",
            )
        return self.model

    def require_embed(self, check: str) -> Embed:
        """SluiceError when nothing embeds."""
        if self.embed is None:
            raise SluiceError(f"config/guardrails.yaml: {check} needs the embedder, and there is none here")
        return self.embed


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

    @cached_property
    def attack(self) -> float:
        """The probability, by the guard model, that one reading of the text is an attack."""
        model, embed = self._kit.require_model("attack"), self._kit.require_embed("attack")
        return _probability(model.probability(self._judged, embed))

    @property
    def in_doubt(self) -> bool:
        """Whether `attack` has to ask the embedder."""
        return bool(self._kit.require_model("attack").in_doubt(self._judged))

    @cached_property
    def _judged(self) -> list[Judged]:
        return self._kit.require_model("attack").judged([layer.text for layer in self.layers])

    @cached_property
    def toxicity(self) -> float:
        """The probability, by the guard model, that one reading of the text is insulting or obscene."""
        return _probability(self._kit.require_model("toxicity").toxicity([layer.text for layer in self.layers]))

    @cached_property
    def vector(self) -> npt.NDArray[np.float32]:
        """The embedding of the plainest reading."""
        plainest = self.layers[0].text if self.layers else self.text[:1]
        found: npt.NDArray[np.float32] = self._kit.require_embed("topic")([plainest])[0]
        return found


def _probability(found: float) -> float:
    """What a model said, if it is a probability; ValueError otherwise. A NaN would be below every threshold."""
    if not 0 <= found <= 1:
        raise ValueError(f"the guard model said {found!r}, which is no probability")
    return found
