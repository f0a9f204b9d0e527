"""Guard models made by hand: of the extra `guard`, which takes this file along."""

import numpy as np

from sluice.extras.guard.guard_features import BUCKETS
from sluice.extras.guard.guard_model import DIMENSION, KindModel, LinearGuardModel, save_guard_model

__all__ = ["kinds_by", "save_guard_model", "trusting_model"]


def kinds_by(first: float) -> KindModel:
    """One kind of attack and one of honest text, told apart by the embedding's first dimension, `first` times."""
    weights = np.zeros((2, 1 + DIMENSION), np.float32)
    weights[1, 1] = first
    return KindModel(weights, np.zeros(2, np.float32), np.array([False, True]), (1.0, 0.0))


def trusting_model(embedder: str) -> LinearGuardModel:
    weights = np.zeros(BUCKETS, np.float32)
    bounds = (-1.0, 1.0)
    return LinearGuardModel(weights, (-10.0, 1.0, 0.0), weights, (1.0, -10.0), kinds_by(0), bounds, 0.5, embedder)
