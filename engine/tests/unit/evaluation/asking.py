"""A made-up application, asked a made-up set of 150 cases: records as the runner writes them, without any model.

Each case has its own difficulty. With a temperature an answer is drawn anew for each trial, so that asking the same
application again gives other records. `spoil` is what a bad prompt does to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Spoil = Literal[
    "",
    "context left out",
    "wrong language",
    "invents",
    "over-long",
    "citation dropped",
    "temperature raised",
]


@dataclass(frozen=True)
class Measured:
    name: str
    unit: str = "share"
    direction: str | None = "higher"
    aggregate: str = "mean"


METRICS = (
    Measured("f1"),
    Measured("exact_match"),
    Measured("groundedness"),
    Measured("decline_accuracy"),
    Measured("citation_correctness"),
    Measured("same_language", aggregate="share"),
    Measured("json_schema", aggregate="share"),
    Measured("not_contains", aggregate="share"),
    Measured("answer_words", "words", "lower"),
    Measured("tokens", "tokens", "lower"),
    Measured("latency_p50_ms", "ms", "lower", "p50"),
    Measured("language", "language", None, "counts"),
)
CASES, UNANSWERABLE = 150, 40


def ask(
    *, spoil: Spoil = "", seed: int, trials: int = 1, temperature: float = 0.3, cases: int = CASES
) -> list[dict[str, Any]]:
    """Records of every case and trial. `seed` is of the drawing; the cases are always the same ones."""
    made = np.random.default_rng(0)
    draw = np.random.default_rng([seed, 1])
    skill = made.beta(3, 1.5, cases)  # chance of the right answer
    if spoil == "temperature raised":
        temperature = 1.0
    records = []
    for number in range(cases):
        for trial in range(trials):
            answerable = number >= UNANSWERABLE * cases // CASES
            steady = (number * 37 % 100) / 100  # what the model says when it does not draw
            luck = draw.random() if draw.random() < temperature else steady
            records.append(_record(number, trial, answerable, luck, float(skill[number]), spoil, draw))
    return records


def _record(
    number: int, trial: int, answerable: bool, luck: float, skill: float, spoil: Spoil, draw: np.random.Generator
) -> dict[str, Any]:
    right = luck < skill * (0.6 if spoil == "context left out" else 1.0)
    declined = not answerable and luck < (0.3 if spoil == "invents" else 0.8)
    words = 6 + int(luck * 6) + (25 if spoil == "over-long" else 0)
    scores: dict[str, float | None] = dict.fromkeys(
        ("f1", "exact_match", "groundedness", "decline_accuracy", "citation_correctness", "answer_words")
    )
    if answerable:
        scores |= {"f1": 1.0 if right else round(luck * 0.5, 3), "exact_match": float(right)}
        cited = 0.0 if spoil == "citation dropped" and luck < 0.6 else float(luck < 0.85)
        scores["citation_correctness"] = cited
    else:
        scores["decline_accuracy"] = float(declined)
    if not declined:
        scores |= {"groundedness": float(right) if spoil == "context left out" else min(1.0, 0.5 + luck)}
        scores["answer_words"] = float(words)
    scores |= {"tokens": 300.0 + words, "latency_p50_ms": float(draw.lognormal(6, 0.4))}
    language = "fr" if spoil == "wrong language" and luck < 0.7 else "en"
    held = {}
    if not declined and luck > 0.2:  # of the others the language cannot be told
        held["same_language"] = language == "en"
    if number % 5 == 0:
        held["json_schema"] = luck < 0.95
    if number % 6 == 0:
        held["not_contains"] = luck > 0.04
    return {
        "id": f"q{number:03}",
        "trial": trial,
        "question": f"Question {number}?",
        "expected": [f"answer {number}"] if answerable else [],
        "tags": ["answerable" if answerable else "unanswerable"],
        "status": "answered",
        "answer": f"answer {number} as {round(luck, 2)}",
        "declined": declined,
        "retrieved": [],
        "passages": [],
        "citations": [],
        "latency_ms": scores["latency_p50_ms"],
        "cost": 0.0001 * (300 + words),
        "recorded": False,
        "scores": scores,
        "labels": {"language": language},
        "assertions": {name: {"passed": bool(passed), "reason": ""} for name, passed in held.items()},
        "errors": {},
    }


def changed(records: Sequence[dict[str, Any]], case: str, **values: Any) -> list[dict[str, Any]]:
    """The records, with keys of one case set anew."""
    return [record | values if record["id"] == case else record for record in records]
