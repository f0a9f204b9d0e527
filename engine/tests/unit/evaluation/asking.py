"""A made-up application, asked 150 cases: records as the runner writes them; `spoil` is the harm of a bad prompt."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from sluice.evaluation.comparison_policy import ComparisonPolicy
from sluice.evaluation.registry import NamedMeasure

Spoil = Literal[
    "", "context left out", "wrong language", "invents", "over-long", "citation dropped", "temperature raised"
]


SCORES = ("f1", "exact_match", "groundedness", "decline_accuracy", "citation_correctness")
ASSERTIONS = ("same_language", "json_schema", "not_contains")
METRICS = (
    *(NamedMeasure(name) for name in SCORES),
    *(NamedMeasure(name, aggregate="share") for name in ASSERTIONS),
    NamedMeasure("answer_words", "words", "lower"),
    NamedMeasure("tokens", "tokens", "lower"),
    NamedMeasure("latency_p50_ms", "ms", "lower", "p50"),
    NamedMeasure("language", "language", None, "counts"),
)
POLICY = ComparisonPolicy.model_validate(
    {
        "confidence": 0.99,
        "power": 0.8,
        "resamples": 4000,
        "seed": 1,
        "minimum_cases": 20,
        "slices": {"minimum_cases": 20, "at_most": 12},
        "metrics": {
            "f1": {"decides": "always", "smallest": 0.02},
            "decline_accuracy": {"decides": "always", "smallest": 0.05},
            "citation_correctness": {"decides": "always", "smallest": 0.03},
            **{name: {"decides": "when_asked", "smallest": 0.03} for name in ("groundedness", *ASSERTIONS)},
            "answer_words": {"decides": "when_asked", "smallest_ratio": 0.2},
            "consistency": {"decides": "when_asked", "smallest": 0.05},
            "answered": {"decides": "when_asked"},
            "exact_match": {"smallest": 0.02},
            "tokens": {"smallest_ratio": 0.05},
            "latency_p50_ms": {"smallest_ratio": 0.25},
        },
    }
)
CASES, UNANSWERABLE = 150, 40


def ask(*, spoil: Spoil = "", seed: int, trials: int = 1, cases: int = CASES) -> list[dict[str, Any]]:
    """Return records of every case and trial. `seed` is of the drawing; the cases are always the same ones."""
    made = np.random.default_rng(0)
    draw = np.random.default_rng([seed, 1])
    skill = made.beta(3, 1.5, cases)  # chance of the right answer
    temperature = 1.0 if spoil == "temperature raised" else 0.3
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
    scores: dict[str, float | None] = dict.fromkeys((*SCORES, "answer_words"))
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
    return [record | values if record["id"] == case else record for record in records]
