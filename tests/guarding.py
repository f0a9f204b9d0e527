"""What a check of the guardrails finds in a text, with everything between: unfolding, its options, its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sluice.guardrails.check import Finding
from sluice.guardrails.features import BUCKETS
from sluice.guardrails.model import DIMENSION, GuardModel
from sluice.guardrails.registry import CHECKS
from sluice.guardrails.seen import Kit, Seen
from sluice.guardrails.toxicity_model import ToxicityModel

TOXIC = ToxicityModel(
    places={"idiot": 0, "canary": 1},
    idf=np.ones(2, np.float32),
    weights=np.array([[4.0, -4.0]], np.float32),
    lines=np.array([[0.0, -3.0, 0.0]], np.float32),
)


def trusting_model(embedder: str) -> GuardModel:
    """Takes nothing for an attack, and asks no embedder."""
    nothing = np.zeros(BUCKETS, np.float32), (-10.0, 1.0, 0.0), np.zeros(DIMENSION, np.float32), (0.0, 0.0)
    return GuardModel(*nothing, (-1.0, 1.0), 0.5, TOXIC, embedder)


def finder(check: str, kit: Kit | None = None) -> Callable[..., list[Finding]]:
    """`find(text, options)` of a check by its name, as a stage runs it."""
    chosen = kit or Kit()

    def find(text: str, options: Any = None) -> list[Finding]:
        entry = CHECKS[check]
        return entry.make(options or entry.options(), chosen)(Seen(text, chosen))

    return find
