"""Traffic against the evaluation set: the same is steady, another is told, and what cannot be compared is said."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import GateFailed, SluiceError
from sluice.data.rows import Row
from sluice.extras.traffic.drift import (
    NO_CASES,
    NO_QUESTIONS,
    NO_SCORES,
    DriftPolicy,
    DriftReport,
    MeanShift,
    TrafficBaseline,
    compare,
    load_drift_policy,
)
from sluice.extras.traffic.drift_page import write_page
from sluice.extras.traffic.recorded_exchange import Exchange
from unit.extras.traffic.conftest import exchange

POLICY = DriftPolicy(p_value=0.01, difference=0.1, min_samples=50)
SUBJECTS = ("tide", "dune", "pier", "mole", "buoy")


def question(rng: random.Random, subjects: tuple[str, ...] = SUBJECTS) -> str:
    return " ".join(["What", "of", "the", *rng.choices(subjects, k=rng.randint(2, 6))]) + "?"


def baseline(rng: random.Random) -> TrafficBaseline:
    rows = [Row(id=f"e{n}", question=question(rng), answers=(), doc_ids=()) for n in range(150)]
    cases = [{"declined": n % 4 == 0, "scores": {"f1": float(n % 3 > 0)}} for n in range(150)]
    return TrafficBaseline(rows, [rng.gauss(0.7, 0.05) for _ in rows], cases)


def traffic(rng: random.Random, **changed: Any) -> list[Exchange]:
    """Like the evaluation set, but for what is changed."""
    defaults = (("subjects", SUBJECTS), ("near", 0.7), ("declining", 4), ("bad", 3))
    subjects, near, declining, bad = (changed.get(key, default) for key, default in defaults)
    return [
        exchange(
            n,
            question(rng, subjects),
            declined=n % declining == 0,
            similarity=rng.gauss(near, 0.05),
            feedback=float(n % bad > 0) if n % 2 else None,
        )
        for n in range(300)
    ]


def found(**changed: Any) -> DriftReport:
    rng = random.Random(5)
    return compare(baseline(rng), traffic(rng, **changed))


def test_traffic_like_the_evaluation_set_is_steady() -> None:
    same = found()
    assert same.shifted(POLICY) == []
    assert same.notes == ()
    assert {shift.verdict(POLICY) for shift in same.shifts} == {"steady"}
    same.require(POLICY)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"near": 0.5}, "similarity of the nearest passage"),
        ({"declining": 2}, "declined"),
        ({"bad": 1}, "good answers, by F1 and by feedback"),
    ],
)
def test_another_traffic_is_told_by_what_moved(changed: dict[str, Any], name: str) -> None:
    other = found(**changed)
    assert name in other.shifted(POLICY)
    with pytest.raises(GateFailed, match=name):
        other.require(POLICY)


def test_with_an_embedder_questions_about_something_else_are_told() -> None:
    def embed(texts: Any) -> Any:
        raw = np.asarray([[float(word in text) for word in (*SUBJECTS, "refund", "login")] + [0.01] for text in texts])
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    rng = random.Random(5)
    base, live = baseline(rng), traffic(rng)
    name = "nearness to an evaluation question"
    assert name not in compare(base, live, embed).shifted(POLICY)
    asked_word_for_word = [exchange(n, row.question) for n, row in enumerate(base.rows)]
    assert name not in compare(base, asked_word_for_word, embed).shifted(POLICY)
    assert name in compare(base, traffic(rng, subjects=("refund", "login")), embed).shifted(POLICY)


def test_what_cannot_be_compared_is_said() -> None:
    rng = random.Random(5)
    silent = [exchange(n, "", declined=True, similarity=0.7) for n in range(60)]
    drift = compare(TrafficBaseline(baseline(rng).rows), silent)
    assert drift.notes == (NO_QUESTIONS, NO_SCORES, NO_CASES)
    assert drift.shifts == ()


def test_few_and_small_differences_are_no_shift() -> None:
    assert MeanShift("n", [0.0] * 49, [1.0] * 500).verdict(POLICY) == "too few"
    assert MeanShift("n", [0.0, 1.0] * 5000, [0.0, 1.0, 1.0] * 5000).verdict(POLICY) == "shifted"
    large = MeanShift("n", [0.0, 1.0] * 50_000, [0.0] * 49_000 + [1.0] * 51_000)
    assert large.p < POLICY.p_value
    assert large.verdict(POLICY) == "steady"


def test_a_side_of_one_value_still_tells_another() -> None:
    assert MeanShift("n", [0.5] * 60, [0.5] * 60).verdict(POLICY) == "steady"
    assert MeanShift("n", [0.5] * 60, [0.9] * 60).verdict(POLICY) == "shifted"
    assert MeanShift("n", [0.5] * 60, [0.9] * 60, higher_is_fine=True).verdict(POLICY) == "steady"


def test_the_numbers_that_decide_are_those_of_the_gates(tmp_path: Path) -> None:
    assert load_drift_policy(Path(__file__).parents[5] / "config" / "gates.yaml") == POLICY
    (tmp_path / "gates.yaml").write_text("drift: {p_value: 0.01, psi: 0.2, min_samples: 50}\n")
    with pytest.raises(SluiceError, match=r"drift\.psi: unknown key \(removed: set `difference: 0\.1`"):
        load_drift_policy(tmp_path / "gates.yaml")


def test_the_page_shows_every_figure(tmp_path: Path) -> None:
    other = found(declining=2)
    page = write_page(other, POLICY, tmp_path).read_text()
    for shift in other.shifts:
        assert f"<td>{shift.name}</td><td>{shift.verdict(POLICY)}</td>" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "1 of 3 figures have shifted" in page
    figures = json.loads((tmp_path / "drift.json").read_text())
    assert figures["shifted"] == other.shifted(POLICY) == ["declined"]
    assert figures["exchanges"] == 300
