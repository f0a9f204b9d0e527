"""Fits the two heads of the guard model and calibrates them. scikit-learn is needed here, and only here.

Scores for calibration are made by cross-validation that leaves whole families out, of attacks and of honest texts: a
probability then says how sure the model is of what it has not seen the like of, not how well it knows its own rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from sluice.data.guard import GuardRow
from sluice.guardrails.features import BUCKETS, buckets
from sluice.guardrails.model import GuardModel, Head
from sluice.guardrails.toxicity_model import ToxicityModel
from sluice.training.guard.parameters import GuardParameters

_FOLDS = 6
Floats = npt.NDArray[np.float64]


def fit(
    rows: Sequence[GuardRow],
    vectors: npt.NDArray[np.float32],
    toxicity: ToxicityModel,
    parameters: GuardParameters,
    embedder: str,
) -> GuardModel:
    """`vectors`: the embedding of each row, unit length. Deterministic."""
    attack = np.array([row.attack for row in rows])
    grams = _grams([row.text for row in rows])
    both = sparse.hstack([grams, sparse.csr_matrix(vectors.astype(np.float64))]).tocsr()
    folds = _folds(rows, parameters.seed)
    unseen = {}
    heads = {}
    for name, features in (("fast", grams), ("full", both)):
        unseen[name] = _unseen(features, attack, folds, parameters)
        model = _fitted(features, attack, parameters)
        slope, offset = _sigmoid(unseen[name], attack)
        line = np.array([model.intercept_[0], slope, offset], np.float32)
        heads[name] = (model.coef_[0].astype(np.float32), line)
    full, line = heads["full"]
    likely = 1 / (1 + np.exp(-(line[1] * unseen["full"] + line[2])))
    return GuardModel(
        fast=Head(*heads["fast"]),
        full=Head(np.ascontiguousarray(full[:BUCKETS]), line),
        embedding=np.ascontiguousarray(full[BUCKETS:]),
        bounds=_bounds(unseen["fast"], attack, parameters),
        threshold=float(np.quantile(likely[~attack], 1 - parameters.honest_share)),
        toxicity_model=toxicity,
        embedder=embedder,
    )


def _grams(texts: Sequence[str]) -> Any:
    """Sparse rows of length 1, shape (texts, BUCKETS)."""
    found = [buckets(text) for text in texts]
    starts = np.cumsum([0, *map(len, found)])
    values = np.concatenate([np.full(len(each), 1 / max(1, len(each)) ** 0.5) for each in found])
    return sparse.csr_matrix((values, np.concatenate(found), starts), shape=(len(texts), BUCKETS))


def _folds(rows: Sequence[GuardRow], seed: int) -> npt.NDArray[np.int64]:
    """The fold of each row. Rows of one family stay together; families are dealt out, of both kinds."""
    draw = random.Random(seed)
    fold: dict[tuple[str, str], int] = {}
    for label in ("attack", "benign"):
        families = sorted({(row.label, row.family) for row in rows if row.label == label})
        draw.shuffle(families)
        fold |= {family: number % _FOLDS for number, family in enumerate(families)}
    return np.array([fold[row.label, row.family] for row in rows])


def _fitted(features: Any, attack: npt.NDArray[np.bool_], parameters: GuardParameters) -> Any:
    return LogisticRegression(C=parameters.strength, max_iter=500).fit(features, attack)


def _unseen(
    features: Any, attack: npt.NDArray[np.bool_], folds: npt.NDArray[np.int64], parameters: GuardParameters
) -> Floats:
    """The margin of each row under a model that has seen neither it nor its family of attacks."""
    margins = np.zeros(len(attack))
    for fold in range(_FOLDS):
        out = folds == fold
        margins[out] = _fitted(features[~out], attack[~out], parameters).decision_function(features[out])
    return margins


def _sigmoid(margins: Floats, attack: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that make margins probabilities (Platt)."""
    scaled = LogisticRegression(C=1e6).fit(margins[:, np.newaxis], attack)
    return float(scaled.coef_[0, 0]), float(scaled.intercept_[0])


def _bounds(margins: Floats, attack: npt.NDArray[np.bool_], parameters: GuardParameters) -> tuple[float, float]:
    """Margins of the fast head that hardly any unseen attack is below, and that no honest row is above."""
    clear = float(np.quantile(margins[attack], parameters.clear_share))
    sure = max(float(margins[~attack].max()), clear)
    return clear, sure
