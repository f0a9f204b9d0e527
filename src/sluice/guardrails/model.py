"""The guard model as it is served: linear, in numpy, read from one safetensors file. Trained in `training/guard/`.

An attack is judged in two steps. Character n-grams alone settle most texts for a tenth of a millisecond: those that are
far below anything an attack looks like, and those far above anything honest. For what lies between, the sentence
embedding is asked too. Both steps are calibrated: 0.8 means that four of five such texts are attacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.errors import SluiceError
from sluice.guardrails.features import BUCKETS, buckets, windows
from sluice.guardrails.seen import Embed
from sluice.guardrails.toxicity_model import TENSORS as TOXICITY_TENSORS
from sluice.guardrails.toxicity_model import ToxicityModel

FILE = "guard.safetensors"
FORMAT = "1"
_NOTES = "guard"  # one entry: the library writes several in any order, and the file would have many digests
DIMENSION = 384
Floats = npt.NDArray[np.float32]
_MOST_EMBEDDED = 2  # windows of one text whose embedding is asked for: the most suspicious ones
_REMEDY = "run the guard stage again: `sluice guard train`"
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "fast.weights": (BUCKETS,),
    "fast.line": (3,),
    "full.weights": (BUCKETS,),
    "full.embedding": (DIMENSION,),
    "full.line": (3,),
    "bounds": (3,),
}


@dataclass(frozen=True)
class Head:
    """`line`: bias of the linear model, then slope and offset of the sigmoid that makes its margin a probability."""

    weights: Floats
    line: Floats

    def margin(self, found: npt.NDArray[np.int64]) -> float:
        """Of a text's buckets, whose row is scaled to length 1."""
        return float(self.weights[found].sum() / max(1.0, len(found)) ** 0.5 + self.line[0])

    def probability(self, margin: float) -> float:
        return float(1 / (1 + np.exp(-np.clip(self.line[1] * margin + self.line[2], -60, 60))))


@dataclass(frozen=True)
class GuardModel:
    """`bounds`: margins of the fast head below which a text is clear, and above which it is an attack for sure.
    `threshold`: the probability from which a text is taken for an attack. `embedder`: sha256 of the embedder's weights
    that it was trained with. Safe for many threads."""

    fast: Head
    full: Head
    embedding: Floats
    bounds: tuple[float, float]
    threshold: float
    toxicity_model: ToxicityModel
    embedder: str

    def attack(self, texts: Sequence[str], embed: Embed) -> float:
        """The probability that one of the texts, or a part of one, is an attack: that of the most suspicious part."""
        parts = dict.fromkeys(part for text in texts for part in windows(text) if part)
        judged = []
        for part in parts:
            found = buckets(part)
            judged.append((self.fast.margin(found), part, found))
        judged.sort(key=lambda one: one[0], reverse=True)
        if not judged or judged[0][0] < self.bounds[0] or judged[0][0] > self.bounds[1]:
            return self.fast.probability(judged[0][0]) if judged else 0.0
        asked = [one for one in judged if one[0] >= self.bounds[0]][:_MOST_EMBEDDED]
        vectors = embed([part for _, part, _ in asked])
        margins = [
            self.full.margin(found) + float(vector @ self.embedding)
            for (_, _, found), vector in zip(asked, vectors, strict=True)
        ]
        return self.full.probability(max(margins))

    def toxicity(self, texts: Sequence[str]) -> float:
        """The probability that one of the texts is insulting or obscene."""
        return max(map(self.toxicity_model.probability, texts), default=0.0)


def load_guard_model(path: Path) -> GuardModel:
    """SluiceError when the file is missing, damaged, or made by another version of this code."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            notes: dict[str, str] = json.loads((file.metadata() or {}).get(_NOTES, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file; a check needs the guard model", remedy=_REMEDY) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise SluiceError(f"{path}: the guard model cannot be read: {error}", remedy=_REMEDY) from None
    if notes.get("format") != FORMAT:
        found = notes.get("format")
        raise SluiceError(f"{path}: a guard model of format {found}, not {FORMAT}", remedy=_REMEDY)
    try:
        _verify(tensors)
        bounds = tensors["bounds"]
        return GuardModel(
            fast=Head(tensors["fast.weights"], tensors["fast.line"]),
            full=Head(tensors["full.weights"], tensors["full.line"]),
            embedding=tensors["full.embedding"],
            bounds=(float(bounds[0]), float(bounds[1])),
            threshold=float(bounds[2]),
            toxicity_model=ToxicityModel.of(tensors),
            embedder=notes["embedder"],
        )
    except (KeyError, ValueError) as error:
        raise SluiceError(f"{path}: not a whole guard model: {error}", remedy=_REMEDY) from None


def save_guard_model(model: GuardModel, path: Path) -> None:
    """Writes the file, the same bytes for the same model."""
    from safetensors.numpy import save_file

    tensors = {
        "fast.weights": model.fast.weights,
        "fast.line": model.fast.line,
        "full.weights": model.full.weights,
        "full.embedding": model.embedding,
        "full.line": model.full.line,
        "bounds": np.asarray((*model.bounds, model.threshold), np.float32),
        **model.toxicity_model.tensors(),
    }
    notes = {"format": FORMAT, "embedder": model.embedder}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata={_NOTES: json.dumps(notes, sort_keys=True)})


def _verify(tensors: Mapping[str, Any]) -> None:
    """ValueError for a tensor of another shape, or with a value that is no number: it would pass every text."""
    wanted = {*_SHAPES, *TOXICITY_TENSORS}
    if differ := wanted ^ set(tensors):
        raise ValueError(f"tensors differ: {', '.join(sorted(differ))}")
    for name, shape in _SHAPES.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has the shape {tensors[name].shape}, not {shape}")
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are no numbers")
