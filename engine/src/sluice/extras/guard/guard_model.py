"""The guard model at inference time: linear, in numpy, from one safetensors file. n-grams decide most texts; scores in
between are decided with the sentence embedding, but not in other scripts than Latin, since the embedder reads English.
The most suspicious part decides, its odds divided by the number of others: with more parts, one is suspicious by
chance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.errors import SluiceError
from sluice.extras.guard.guard_features import BUCKETS, foreign, margins, parts
from sluice.guardrails.check import Embed, PartMargin

DIMENSION = 384
Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class KindModel:
    """`weights`: (kinds, 1 + DIMENSION) of the margin and the embedding; `biases`: (kinds,); `attack`: (kinds,), True
    for kinds of attacks; `line`: slope and offset of the sigmoid of the odds."""

    weights: Floats
    biases: Floats
    attack: npt.NDArray[np.bool_]
    line: tuple[float, float]

    def odds(self, margins: Sequence[float] | Floats, vectors: Floats) -> Floats:
        """Return the log odds of some kind of attack over some honest kind, shape (texts,)."""
        likely = np.column_stack([margins, vectors]) @ self.weights.T + self.biases
        attack, honest = (np.logaddexp.reduce(likely[:, kinds], axis=1) for kinds in (self.attack, ~self.attack))
        found: Floats = attack - honest
        return found

    def probabilities(self, margins: Sequence[float], vectors: Floats) -> Floats:
        """Return P(attack) for each text; NaN stays NaN."""
        slope, offset = self.line
        return 1 / (1 + np.exp(-np.clip(slope * self.odds(margins, vectors) + offset, -60, 60)))


FORMAT = "9"
_IGNORED = "toxicity."  # tensors of files that were made while there was a check `toxicity`
_NOTES = "guard"  # one entry: the library writes several in any order, and the file would have many digests
_MOST_EMBEDDED = 4  # parts of one text whose embedding is asked for: the most suspicious ones
_MOST_AMONG = 7  # other parts that odds are divided by, so that no padding hides an attack
_REMEDY = "run the guard stage again: `sluice guard train`"


@dataclass(frozen=True)
class LinearGuardModel:
    """`grams`: bias of the margin, then slope and offset of its sigmoid; `foreign_line`: slope and offset that put
    margins of other scripts beside those of Latin; `bounds`: margins below which a text is clear and above which it is
    an attack; `embedder`: sha256 of its weights. Safe for many threads."""

    weights: Floats
    grams: tuple[float, float, float]
    foreign_weights: Floats
    foreign_line: tuple[float, float]
    kinds: KindModel
    bounds: tuple[float, float]
    threshold: float
    embedder: str

    def attack(self, texts: Sequence[str], embed: Embed) -> float:
        """Return the probability that the most suspicious part of the texts is an attack."""
        return self.probability(self.judged(texts), embed)

    def judged(self, texts: Sequence[str]) -> list[PartMargin]:
        """Score every part of the texts by n-grams, the most suspicious first."""
        among: dict[str, int] = {}
        for text in texts:
            found = [part for part in parts(text) if part]
            among = dict.fromkeys(found, len(found)) | among
        return sorted(map(PartMargin, self.margins(list(among)), among, among.values()), reverse=True)

    def in_doubt(self, judged: Sequence[PartMargin]) -> Sequence[PartMargin]:
        """Return the parts whose embedding decides; none if the n-grams settle it."""
        if not judged or judged[0].margin > self.bounds[1]:
            return ()
        clear, slope = self.bounds[0], self.grams[1]  # one of many parts must be surer to be clear
        doubted = [one for one in judged if one.margin >= clear + math.log(_others(one.among)) / slope]
        return [one for one in doubted if not foreign(one.part)][:_MOST_EMBEDDED]

    def probability(self, judged: Sequence[PartMargin], embed: Embed) -> float:
        doubted = self.in_doubt(judged)
        settled = next((one for one in judged if not doubted or foreign(one.part)), None)
        likely = 0.0 if settled is None else _among(self._settled(settled.margin), settled.among)
        if not doubted:
            return likely
        vectors = embed([one.part for one in doubted])
        found = self.kinds.probabilities([one.margin for one in doubted], vectors)
        shared = [_among(float(each), one.among) for each, one in zip(found, doubted, strict=True)]
        return float(np.max([*shared, likely]))  # NaN stays NaN

    def margins(self, texts: Sequence[str]) -> list[float]:
        found = [margin + self.grams[0] for margin in margins(texts, self.weights)]
        slope, offset = self.foreign_line
        abroad = [place for place, text in enumerate(texts) if foreign(text)]
        for place, margin in zip(abroad, margins([texts[each] for each in abroad], self.foreign_weights), strict=True):
            found[place] = slope * margin + offset
        return found

    def _settled(self, margin: float) -> float:
        odds = self.grams[1] * margin + self.grams[2]
        return 1 / (1 + math.exp(-min(max(odds, -60.0), 60.0)))


def _among(probability: float, parts: int) -> float:
    """Return the probability of a part that is one of several."""
    return probability / (probability + (1 - probability) * _others(parts))


def _others(parts: int) -> int:
    return max(1, min(parts - 1, _MOST_AMONG))


def load_guard_model(path: Path) -> LinearGuardModel:
    """Raise SluiceError if the file is missing, damaged, or of another version of this code."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            notes: dict[str, str] = json.loads((file.metadata() or {}).get(_NOTES, "{}"))
            names = [name for name in file.keys() if not name.startswith(_IGNORED)]  # noqa: SIM118 - not a mapping
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise SluiceError(f"{path}: no such file; a check needs the guard model", remedy=_REMEDY) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise SluiceError(f"{path}: the guard model cannot be read: {error}", remedy=_REMEDY) from None
    if notes.get("format") != FORMAT:
        found = notes.get("format")
        raise SluiceError(f"{path}: a guard model of format {found}, not {FORMAT}", remedy=_REMEDY)
    try:
        _verify(tensors)
        bias, slope, offset = (float(value) for value in tensors["grams.line"])
        clear, sure, threshold = (float(value) for value in tensors["bounds"])
        return LinearGuardModel(
            weights=tensors["grams.weights"],
            grams=(bias, slope, offset),
            foreign_weights=tensors["foreign.weights"],
            foreign_line=(float(tensors["foreign.line"][0]), float(tensors["foreign.line"][1])),
            kinds=KindModel(
                tensors["kinds.weights"],
                tensors["kinds.biases"],
                tensors["kinds.attack"],
                (float(tensors["kinds.line"][0]), float(tensors["kinds.line"][1])),
            ),
            bounds=(clear, sure),
            threshold=threshold,
            embedder=notes["embedder"],
        )
    except (KeyError, ValueError) as error:
        raise SluiceError(f"{path}: the guard model is incomplete: {error}", remedy=_REMEDY) from None


def save_guard_model(model: LinearGuardModel, path: Path) -> None:
    """Write the file, the same bytes for the same model."""
    from safetensors.numpy import save_file

    tensors = {
        "grams.weights": model.weights,
        "grams.line": np.asarray(model.grams, np.float32),
        "foreign.weights": model.foreign_weights,
        "foreign.line": np.asarray(model.foreign_line, np.float32),
        "bounds": np.asarray((*model.bounds, model.threshold), np.float32),
        "kinds.weights": model.kinds.weights,
        "kinds.biases": model.kinds.biases,
        "kinds.attack": model.kinds.attack,
        "kinds.line": np.asarray(model.kinds.line, np.float32),
    }
    notes = {"format": FORMAT, "embedder": model.embedder}
    path.parent.mkdir(parents=True, exist_ok=True)
    # The library writes the memory as it lies, whatever the strides say.
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, str(path), metadata={_NOTES: json.dumps(notes, sort_keys=True)})


def _verify(tensors: Mapping[str, Any]) -> None:
    """Raise ValueError for a wrong shape or a value that isn't finite: it would pass every text."""
    kinds = len(tensors["kinds.biases"])
    shapes: Mapping[str, tuple[int, ...]] = {
        "grams.weights": (BUCKETS,),
        "grams.line": (3,),
        "foreign.weights": (BUCKETS,),
        "foreign.line": (2,),
        "bounds": (3,),
        "kinds.weights": (kinds, 1 + DIMENSION),
        "kinds.biases": (kinds,),
        "kinds.attack": (kinds,),
        "kinds.line": (2,),
    }
    if differ := shapes.keys() ^ tensors.keys():
        raise ValueError(f"tensors differ: {', '.join(sorted(differ))}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has the shape {tensors[name].shape}, not {shape}")
        if tensors[name].dtype.kind == "f" and not np.isfinite(tensors[name]).all():
            raise ValueError(f"{name} contains values that are not numbers")
    attack = tensors["kinds.attack"]
    if attack.dtype != np.bool_ or attack.all() or not attack.any():
        raise ValueError("kinds.attack does not tell attacks from honest texts")
