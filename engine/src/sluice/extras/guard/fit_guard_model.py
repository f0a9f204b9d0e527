"""Fits and calibrates both steps of the guard model; only this module needs scikit-learn. Calibration and the second
step use scores from cross-validation that leaves whole families out, so a probability says how sure the model is of
unseen kinds of text. The second step learns from rows in doubt: only these are embedded."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression, SGDClassifier

from sluice.extras.guard.guard_features import BUCKETS, features, foreign, parts
from sluice.extras.guard.guard_model import KindModel, LinearGuardModel
from sluice.extras.guard.guard_rows import GuardParameters, GuardRow
from sluice.guardrails.check import Embed

_FOLDS = 4
_THREADS = 2
_SURE = 0.999  # of unseen honest rows: the n-grams alone refuse what is above
_EMBEDDING_SCALE = 5.0  # against margins, whose spread is larger; a penalty treats both alike
_STRENGTH = 0.1  # of the second step, inverse of its penalty
_ROUNDS, _TOLERANCE = 200, 1e-3  # of its solver
_RARITY, _FOREIGN_RARITY = 1.5, 1.0  # power of the inverse document frequency
_FEW, _COUNTS = 12, 4.0  # rows of a family, and what each of so few counts
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Fit = Callable[[Any, Any, Floats], Callable[[Any], Floats]]  # rows, labels and counts, then the margins of other rows


def fit(rows: Sequence[GuardRow], embed: Embed, parameters: GuardParameters, embedder: str) -> LinearGuardModel:
    """Return a fitted model, always the same; `embed` gets at most `parameters.embedded` texts and returns unit-length
    rows."""
    away = [row for row in rows if foreign(row.text)]
    rows = [row for row in rows if not foreign(row.text)]
    rows, counts = _as_judged(rows)
    attack = np.array([row.attack for row in rows])
    kinds = np.array([f"{row.label}/{row.kind}" for row in rows])
    folds = _folds(rows, parameters.seed)
    margins, weights, bias = _fit_grams(rows, attack, counts, folds, _RARITY, parameters)
    line = _sigmoid(margins, attack)
    slope, offset = line
    # Hardly any unseen attack is below `clear`, and hardly any honest row above `sure`.
    clear = float(np.quantile(margins[attack], parameters.clear_share))
    sure = max(float(np.quantile(margins[~attack], _SURE)), clear)
    # The rows nearest to where the n-grams alone would decide.
    decided = np.quantile(margins[~attack], 1 - parameters.honest_share)
    doubted = np.sort(np.argsort(np.abs(margins - decided), kind="stable")[: parameters.embedded])
    vectors = embed([rows[place].text for place in doubted])
    both = np.column_stack([margins[doubted], vectors])
    odds = _unseen(both, kinds[doubted], counts[doubted], folds[doubted], lambda *some: _odds(_second(*some)))
    second = _sigmoid(odds, attack[doubted])
    likely = 1 / (1 + np.exp(-(slope * margins + offset)))
    likely[doubted] = 1 / (1 + np.exp(-(second[0] * odds + second[1])))
    threshold = float(np.quantile(likely[~attack], 1 - parameters.honest_share))
    at_threshold = float((np.log(threshold / (1 - threshold)) - offset) / slope)
    foreign_weights, foreign_line = _fit_foreign(away, line, at_threshold, parameters) or (weights, (1.0, bias))
    return LinearGuardModel(
        weights=weights,
        grams=(bias, slope, offset),
        foreign_weights=foreign_weights,
        foreign_line=foreign_line,
        kinds=replace(_second(both, kinds[doubted], counts[doubted]), line=second),
        # What the n-grams settle alone must be on its side of the threshold.
        bounds=(min(clear, at_threshold), max(sure, at_threshold)),
        threshold=threshold,
        embedder=embedder,
    )


def _fit_grams(
    rows: Sequence[GuardRow],
    attack: Flags,
    counts: Floats,
    folds: npt.NDArray[np.int64],
    power: float,
    parameters: GuardParameters,
) -> tuple[Floats, npt.NDArray[np.float32], float]:
    """Return the margins of the rows when they were not seen, and the weights and bias over all rows."""
    starts, places, values = features([row.text for row in rows])
    grams = sparse.csr_matrix((values.astype(np.float64), places, starts), (len(rows), BUCKETS))
    rarity = _rarity(grams, power)
    grams.data *= rarity[grams.indices]
    with ThreadPoolExecutor(_THREADS) as pool:  # the descent releases the interpreter lock
        whole = pool.submit(_first, grams, attack, counts, parameters)
        margins = _unseen(
            grams,
            attack,
            counts,
            folds,
            lambda some, labels, each: _first(some, labels, each, parameters).decision_function,
            pool.map,
        )
        model = whole.result()
    return margins, (model.coef_[0] * rarity).astype(np.float32), float(model.intercept_[0])


def _fit_foreign(
    rows: Sequence[GuardRow], line: tuple[float, float], at_threshold: float, parameters: GuardParameters
) -> tuple[npt.NDArray[np.float32], tuple[float, float]] | None:
    """Return weights and line of rows in other scripts than Latin, or None if there are too few."""
    attack = np.array([row.attack for row in rows], np.bool_)
    if attack.all() or not attack.any():
        return None
    folds = _folds(rows, parameters.seed)
    margins, weights, bias = _fit_grams(rows, attack, np.ones(len(rows)), folds, _FOREIGN_RARITY, parameters)
    # The slope makes both sigmoids equally steep. The offset puts a share of unseen honest rows at the threshold,
    # another one than in Latin, since no second step looks at suspects.
    slope = _sigmoid(margins, attack)[0] / line[0]
    suspected = float(np.quantile(margins[~attack], 1 - parameters.foreign_honest_share))
    offset = at_threshold - slope * suspected
    return weights, (slope, slope * bias + offset)


def _rarity(grams: Any, power: float) -> Floats:
    """Return factors that raise rare buckets; the mean square length is kept, so the penalty means the same."""
    texts = grams.shape[0]
    rarity = np.log((texts + 1) / (grams.getnnz(axis=0) + 1)) ** power
    squares = np.square(grams.data)
    found: Floats = rarity * np.sqrt(squares.sum() / (squares * rarity[grams.indices] ** 2).sum())
    return found


def _folds(rows: Sequence[GuardRow], seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each row; families stay together and are dealt out by label."""
    draw = random.Random(seed)
    fold: dict[tuple[str, str], int] = {}
    for label in ("attack", "benign"):
        families = sorted({(row.label, row.family) for row in rows if row.label == label})
        draw.shuffle(families)
        fold |= {family: number % _FOLDS for number, family in enumerate(families)}
    return np.array([fold[row.label, row.family] for row in rows])


def _as_judged(rows: Sequence[GuardRow]) -> tuple[list[GuardRow], Floats]:
    """Return the rows, the honest parts behind their texts, and the weight of each, 1 in the mean. Rare wordings count
    several times: attackers and honest people write such ones, and most rows are composed. A part of an honest text is
    honest, though alone it may read as an order."""
    size = Counter(row.family for row in rows)
    found: list[GuardRow] = []
    counts: list[float] = []
    for row in rows:
        few = size[row.family] <= _FEW
        texts = dict.fromkeys([row.text, *parts(row.text)]) if few and not row.attack else [row.text]
        found += [row.model_copy(update={"text": text}) for text in texts]
        counts += [_COUNTS if few else 1.0] * len(texts)
    return found, np.array(counts) / float(np.mean(counts))


def _first(grams: Any, attack: Flags, counts: Floats, parameters: GuardParameters) -> Any:
    """Averaged stochastic descent: as good here as a solver that takes a hundred times as long."""
    return SGDClassifier(
        loss="log_loss",
        alpha=parameters.penalty,
        max_iter=parameters.epochs,
        tol=None,
        average=True,
        random_state=parameters.seed,
    ).fit(grams, attack, sample_weight=counts)


def _second(both: Floats, kinds: npt.NDArray[np.str_], counts: Floats) -> KindModel:
    """Fit kinds to a margin and an embedding; their odds are no probability yet."""
    scales = np.array([1.0, *[_EMBEDDING_SCALE] * (both.shape[1] - 1)], np.float32)
    scaled = (both * scales).astype(np.float32)
    found = LogisticRegression(C=_STRENGTH, max_iter=_ROUNDS, tol=_TOLERANCE).fit(scaled, kinds, counts)
    weights, biases = found.coef_ * scales, found.intercept_
    if len(found.classes_) == 2:  # it has the weights of the second against the first
        weights, biases = np.vstack([np.zeros_like(weights), weights]), np.append(np.zeros_like(biases), biases)
    attack = np.char.startswith(found.classes_, "attack/")
    return KindModel(weights.astype(np.float32), biases.astype(np.float32), attack, (1.0, 0.0))


def _odds(model: KindModel) -> Callable[[Floats], Floats]:
    return lambda both: model.odds(both[:, 0], both[:, 1:])


def _unseen(
    rows: Any, labels: Any, counts: Floats, folds: npt.NDArray[np.int64], fitted: Fit, mapped: Callable[..., Any] = map
) -> Floats:
    """Return each row's margin under a model that has seen neither it nor its family."""

    def of_others(out: Flags) -> Floats:
        return fitted(rows[~out], labels[~out], counts[~out])(rows[out])

    margins = np.zeros(len(labels))
    parted = [folds == fold for fold in np.unique(folds)]
    for out, found in zip(parted, mapped(of_others, parted), strict=True):
        margins[out] = found
    return margins


def _sigmoid(margins: Floats, attack: Flags) -> tuple[float, float]:
    """Return slope and offset that make margins probabilities (Platt)."""
    scaled = LogisticRegression(C=1e6).fit(margins[:, np.newaxis], attack)
    return float(scaled.coef_[0, 0]), float(scaled.intercept_[0])
