"""Fits both steps of the guard model and calibrates them. scikit-learn is needed here, and only here.

Scores for calibration are made by cross-validation that leaves whole families out, of attacks and of honest texts: a
probability then says how sure the model is of what it has not seen the like of, not how well it knows its own rows.
The second step learns from such scores too, and from the rows that they leave in doubt: only these are embedded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression, SGDClassifier

from sluice.data.guard import GuardRow
from sluice.guardrails.features import BUCKETS, features
from sluice.guardrails.model import GuardModel
from sluice.guardrails.seen import Embed
from sluice.guardrails.toxicity_model import ToxicityModel
from sluice.training.guard.parameters import GuardParameters

_FOLDS = 4
_SURE = 0.999  # of unseen honest rows: the n-grams alone refuse what is above
_EMBEDDING_SCALE = 3.0  # against margins, whose spread is larger; a penalty treats both alike
_STRENGTH = 0.1  # of the second step, inverse of its penalty
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Fit = Callable[[Any, Flags], Any]


def fit(
    rows: Sequence[GuardRow], embed: Embed, toxicity: ToxicityModel, parameters: GuardParameters, embedder: str
) -> GuardModel:
    """`embed`: unit-length rows, asked once for at most `parameters.embedded` of the texts. Deterministic."""
    attack = np.array([row.attack for row in rows])
    folds = _folds(rows, parameters.seed)
    grams = _grams([row.text for row in rows])

    def first(some: Any, labels: Flags) -> Any:
        return _first(some, labels, parameters)

    margins = _unseen(grams, attack, folds, first)
    model = first(grams, attack)
    slope, offset = _sigmoid(margins, attack)
    clear, sure = _bounds(margins, attack, parameters)
    doubted = _doubted(margins, attack, parameters)
    vectors = embed([rows[place].text for place in doubted])
    both = np.hstack([margins[doubted, np.newaxis], vectors * _EMBEDDING_SCALE])
    labels = attack[doubted]
    seen_by_none = _unseen(both, labels, folds[doubted], _second)
    second = _second(both, labels)
    scale, shift = _sigmoid(seen_by_none, labels)
    weights = second.coef_[0] * scale
    likely = 1 / (1 + np.exp(-(slope * margins + offset)))
    likely[doubted] = 1 / (1 + np.exp(-(scale * seen_by_none + shift)))
    threshold = float(np.quantile(likely[~attack], 1 - parameters.honest_share))
    at_threshold = (np.log(threshold / (1 - threshold)) - offset) / slope
    return GuardModel(
        weights=model.coef_[0].astype(np.float32),
        grams=(float(model.intercept_[0]), slope, offset),
        embedding=np.ascontiguousarray(weights[1:] * _EMBEDDING_SCALE, np.float32),
        both=(float(weights[0]), float(second.intercept_[0] * scale + shift)),
        # What the n-grams settle alone must be on its side of the threshold.
        bounds=(float(min(clear, at_threshold)), float(max(sure, at_threshold))),
        threshold=threshold,
        toxicity_model=toxicity,
        embedder=embedder,
    )


def _grams(texts: Sequence[str]) -> Any:
    """Sparse rows, shape (texts, BUCKETS)."""
    found = [features(text) for text in texts]
    starts = np.cumsum([0, *(len(row.places) for row in found)])
    values = np.concatenate([row.values for row in found]).astype(np.float64)
    return sparse.csr_matrix((values, np.concatenate([row.places for row in found]), starts), (len(texts), BUCKETS))


def _folds(rows: Sequence[GuardRow], seed: int) -> npt.NDArray[np.int64]:
    """The fold of each row. Rows of one family stay together; families are dealt out, of both kinds."""
    draw = random.Random(seed)
    fold: dict[tuple[str, str], int] = {}
    for label in ("attack", "benign"):
        families = sorted({(row.label, row.family) for row in rows if row.label == label})
        draw.shuffle(families)
        fold |= {family: number % _FOLDS for number, family in enumerate(families)}
    return np.array([fold[row.label, row.family] for row in rows])


def _first(grams: Any, attack: Flags, parameters: GuardParameters) -> Any:
    """Averaged stochastic descent: as good here as a solver that takes a hundred times as long."""
    return SGDClassifier(
        loss="log_loss",
        alpha=parameters.penalty,
        max_iter=parameters.epochs,
        tol=None,
        average=True,
        random_state=parameters.seed,
    ).fit(grams, attack)


def _second(both: Any, attack: Flags) -> Any:
    return LogisticRegression(C=_STRENGTH, max_iter=300).fit(both, attack)


def _unseen(rows: Any, attack: Flags, folds: npt.NDArray[np.int64], fitted: Fit) -> Floats:
    """The margin of each row under a model that has seen neither it nor its family."""
    margins = np.zeros(len(attack))
    for fold in np.unique(folds):
        out = folds == fold
        margins[out] = fitted(rows[~out], attack[~out]).decision_function(rows[out])
    return margins


def _sigmoid(margins: Floats, attack: Flags) -> tuple[float, float]:
    """Slope and offset that make margins probabilities (Platt)."""
    scaled = LogisticRegression(C=1e6).fit(margins[:, np.newaxis], attack)
    return float(scaled.coef_[0, 0]), float(scaled.intercept_[0])


def _bounds(margins: Floats, attack: Flags, parameters: GuardParameters) -> tuple[float, float]:
    """Margins that hardly any unseen attack is below, and that hardly any honest row is above."""
    clear = float(np.quantile(margins[attack], parameters.clear_share))
    return clear, max(float(np.quantile(margins[~attack], _SURE)), clear)


def _doubted(margins: Floats, attack: Flags, parameters: GuardParameters) -> npt.NDArray[np.int64]:
    """The rows that are nearest to where the n-grams alone would decide."""
    decided = np.quantile(margins[~attack], 1 - parameters.honest_share)
    nearest = np.argsort(np.abs(margins - decided), kind="stable")
    return np.sort(nearest[: parameters.embedded])
