"""The context of the checks of a stage: the text is normalized once and scored by the guard model at most once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from propcache.api import cached_property

from sluice.core.errors import SluiceError
from sluice.guardrails.bounded_cache import BoundedCache
from sluice.guardrails.text_normalization import NormalizedText, normalize_text
from sluice.guardrails.text_normalization.reading import Reading

GUARD_FILE = "guard.safetensors"  # of the guard model, in build/guard/ and in a release
_EMBEDDED = 512  # of 1.5 KiB each
Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


class PartMargin(NamedTuple):
    """A part of a text, how suspicious its wording is (any number, larger for an attack), and among how many parts."""

    margin: float
    part: str
    among: int = 1


class GuardModel(Protocol):
    """What checks ask of the guard model, which the extra `guard` trains and loads. Safe for many threads.

    Attributes:
        threshold: probability from which a text is taken for an attack.
        embedder: sha256 of the embedder's weights that it was trained with.
    """

    @property
    def threshold(self) -> float: ...

    @property
    def embedder(self) -> str: ...

    def judged(self, texts: Sequence[str]) -> list[PartMargin]:
        """What the wording says of every part of the texts, the most suspicious first."""

    def in_doubt(self, judged: Sequence[PartMargin]) -> Sequence[PartMargin]:
        """The parts whose embedding decides."""

    def probability(self, judged: Sequence[PartMargin], embed: Embed) -> float:
        """P(attack) of the most suspicious part."""


@dataclass(frozen=True)
class CheckResources:
    """What checks may need beside the text. `embed`: unit-length rows, one for each text. `instructions`: what the
    application's own instructions to the model. `embedded`: the embeddings of the last parts that were in doubt."""

    model: GuardModel | None = None
    embed: Embed | None = None
    instructions: tuple[str, ...] = ()
    embedded: BoundedCache[npt.NDArray[np.float32]] = field(
        default_factory=lambda: BoundedCache(_EMBEDDED), compare=False
    )

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


class CheckContext:
    """For one call: it is not shared between threads. `earlier`: what was said before a question."""

    def __init__(self, text: str, resources: CheckResources, earlier: tuple[str, ...] = ()) -> None:
        self.text, self.earlier = text, earlier
        self._resources = resources

    def of(self, text: str) -> CheckContext:
        """Of another text, with the same resources."""
        return CheckContext(text, self._resources)

    @cached_property
    def normalized(self) -> NormalizedText:
        return normalize_text(self.text)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Every reading of the text, the plainest first."""
        return self.normalized.readings

    @cached_property
    def attack(self) -> float:
        """The probability, by the guard model, that one reading of the text is an attack."""
        model, embed = self._resources.require_model("attack"), self._resources.require_embed("attack")
        known = self._resources.embedded
        fresh: dict[str, npt.NDArray[np.float32]] = {}

        def embedded(parts: Sequence[str]) -> npt.NDArray[np.float32]:
            vectors = {part: known.get(part) for part in parts}
            if unknown := [part for part, vector in vectors.items() if vector is None]:
                fresh.update(zip(unknown, embed(unknown), strict=True))
            return np.array([fresh.get(part, vector) for part, vector in vectors.items()])

        found = _probability(model.probability(self._judged, embedded))
        for part, vector in fresh.items():  # not before: what gave no probability is asked for again
            known[part] = vector
        return found

    @property
    def waits(self) -> bool:
        """Whether `attack` has to ask the embedder."""
        doubted = self._resources.require_model("attack").in_doubt(self._judged)
        return not all(one.part in self._resources.embedded for one in doubted)

    @cached_property
    def _judged(self) -> list[PartMargin]:
        return self._resources.require_model("attack").judged([reading.text for reading in self.readings])

    @cached_property
    def vector(self) -> npt.NDArray[np.float32]:
        """The embedding of the plainest reading."""
        plainest = self.readings[0].text if self.readings else self.text[:1]
        found: npt.NDArray[np.float32] = self._resources.require_embed("topic")([plainest])[0]
        return found


def _probability(found: float) -> float:
    """What a model said, if it is a probability; ValueError otherwise. A NaN would be below every threshold."""
    if not 0 <= found <= 1:
        raise ValueError(f"the guard model said {found!r}, which is no probability")
    return found
