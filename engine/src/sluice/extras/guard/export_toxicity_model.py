"""Extracts the linear model of alt-profanity-check from its pickles, and verifies equal predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sluice.core.errors import SluiceError
from sluice.extras.guard.toxicity_model import ToxicityModel

_MOST_APART = 1e-4  # float32 against float64


def export_toxicity(samples: list[str]) -> ToxicityModel:
    """The model in numpy. SluiceError when it disagrees with the original about one of the samples."""
    import joblib
    import profanity_check

    data = Path(profanity_check.__file__).parent / "data"
    vectorizer: Any = joblib.load(data / "vectorizer.joblib")
    model: Any = joblib.load(data / "model.joblib")
    machines = model.calibrated_classifiers_
    lines = [
        (machine.estimator.intercept_[0], machine.calibrators[0].a_, machine.calibrators[0].b_) for machine in machines
    ]
    exported = ToxicityModel(
        places={word: int(place) for word, place in vectorizer.vocabulary_.items()},
        idf=vectorizer.idf_.astype(np.float32),
        weights=np.stack([machine.estimator.coef_[0] for machine in machines]).astype(np.float32),
        lines=np.array(lines, np.float32),
    )
    original = model.predict_proba(vectorizer.transform(samples))[:, 1]
    apart = max(abs(exported.probability(text) - p) for text, p in zip(samples, original, strict=True))
    if not apart <= _MOST_APART:
        raise SluiceError(
            f"the exported toxicity model differs from alt-profanity-check by {apart:.2g}",
            remedy="another release of it has another shape: fix extras/guard/export_toxicity_model.py",
        )
    return exported
