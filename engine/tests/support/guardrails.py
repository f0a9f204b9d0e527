"""What a check of the guardrails finds in a text, with everything between: unfolding, its options, its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sluice.guardrails.check import CHECKS, Finding
from sluice.guardrails.context import CheckContext, CheckResources
from sluice.guardrails.guard_features import BUCKETS
from sluice.guardrails.guard_model import GuardModel
from sluice.guardrails.kind_model import DIMENSION, KindModel
from sluice.guardrails.toxicity_model import ToxicityModel

TOXIC = ToxicityModel(
    places={"idiot": 0, "canary": 1},
    idf=np.ones(2, np.float32),
    weights=np.array([[4.0, -4.0]], np.float32),
    lines=np.array([[0.0, -3.0, 0.0]], np.float32),
)


def kinds_by(first: float) -> KindModel:
    """One kind of attack and one of honest text, told apart by the embedding's first dimension, `first` times."""
    weights = np.zeros((2, 1 + DIMENSION), np.float32)
    weights[1, 1] = first
    return KindModel(weights, np.zeros(2, np.float32), np.array([False, True]), (1.0, 0.0))


def trusting_model(embedder: str) -> GuardModel:
    """Takes nothing for an attack, and asks no embedder."""
    weights = np.zeros(BUCKETS, np.float32)
    return GuardModel(weights, (-10.0, 1.0, 0.0), kinds_by(0), (-1.0, 1.0), 0.5, TOXIC, embedder)


def finder(check: str, kit: CheckResources | None = None) -> Callable[..., list[Finding]]:
    """`find(text, options)` of a check by its name, as a stage runs it."""
    chosen = kit or CheckResources()

    def find(text: str, options: Any = None) -> list[Finding]:
        entry = CHECKS[check]
        return entry(options or entry.options_model(), chosen).find(CheckContext(text, chosen))

    return find


def stored_texts(name: str) -> list[str]:
    """Texts of data/guard/, from the store in the repository: nothing has to be pulled."""
    root = Path(__file__).parents[3]
    store = root / "dvc-store" / "files" / "md5"
    folder = yaml.safe_load((root / "data.dvc").read_text())["outs"][0]["md5"]
    for entry in json.loads((store / folder[:2] / folder[2:]).read_text()):
        if entry["relpath"] == f"guard/{name}":
            lines = (store / entry["md5"][:2] / entry["md5"][2:]).read_text().splitlines()
            return [json.loads(line)["text"] for line in lines]
    raise LookupError(f"data.dvc has no guard/{name}")
