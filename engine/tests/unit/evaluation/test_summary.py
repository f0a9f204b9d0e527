from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.evaluation.metrics.decline_accuracy import decline_accuracy
from sluice.evaluation.metrics.exact_match import exact_match
from sluice.evaluation.metrics.request import latency_p50_ms, latency_p95_ms
from sluice.evaluation.output import NamedMeasure
from sluice.evaluation.summary import aggregate, cases_digest, percentile, summarise, write_results

LANGUAGE = NamedMeasure("language", "language", None, "counts")
SAME_LANGUAGE = NamedMeasure("same_language", aggregate="share")


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1.0], 0.5, 1.0),
        ([1.0], 0.95, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 21)), 0.95, 19),
        (list(range(1, 22)), 0.95, 20),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_percentile_has_no_rounding_of_its_own() -> None:
    for size in range(1, 400):
        for share, exact in ((0.5, Fraction(1, 2)), (0.95, Fraction(19, 20))):
            assert percentile(range(1, size + 1), share) == math.ceil(exact * size)


def test_aggregate() -> None:
    assert aggregate(exact_match, [1.0, 0.0, 0.0, 1.0]) == 0.5
    assert aggregate(latency_p50_ms, [10.0, 30.0, 20.0]) == 20.0
    assert aggregate(latency_p95_ms, [10.0, 30.0, 20.0]) == 30.0
    assert aggregate(exact_match, []) is None


def case(score: float | None = None, error: str = "") -> dict[str, Any]:
    return {
        "id": "q",
        "scores": {} if error else {"exact_match": score},
        "errors": {"exact_match": error} if error else {},
    }


@pytest.mark.parametrize(
    ("cases", "value", "samples", "errors"),
    [
        ([case(1.0), case(0.0), case(None)], 0.5, 2, 0),
        ([case(1.0), case(error="crash"), case(error="crash")], 1.0, 1, 2),  # counted apart: the gate sees them
        ([case(error="crash")], None, 0, 1),
        ([case(None)], None, 0, 0),
        ([], None, 0, 0),
    ],
)
def test_errors_are_counted_and_never_averaged(row, cases, value, samples, errors) -> None:
    summary = summarise([row("x")], cases, [exact_match])
    assert summary["metrics"]["exact_match"] == {
        "value": value,
        "samples": samples,
        "errors": errors,
        "unit": "share",
        "direction": "higher",
        "aggregate": "mean",
    }
    assert summary["cases"] == len(cases)


def test_cases_digest_is_over_what_is_asked_and_expected(row) -> None:
    assert cases_digest([row("x")]) == cases_digest([row("x")])
    assert cases_digest([row("x")]) != cases_digest([row("y")])
    assert cases_digest([row("x"), row("y")]) != cases_digest([row("y"), row("x")])


def test_scores_labels_and_assertions_are_summed_up_apart(row) -> None:
    def said(language: str | None, same: bool | None, **errors: str) -> dict[str, Any]:
        return case(1.0) | {
            "labels": {"language": language} if language else {},
            "assertions": {} if same is None else {"same_language": {"passed": same, "reason": ""}},
            "errors": errors,
        }

    cases = [
        said("de", False),
        said("en", True),
        said("en", True),
        said(None, None),
        said(None, None, same_language="x"),
    ]
    cases.append({"id": "failed", "scores": {}, "errors": {"language": "x", "same_language": "x", "exact_match": "x"}})
    summary = summarise([row("x")], cases, [exact_match, LANGUAGE, SAME_LANGUAGE])
    assert summary["labels"] == {"language": {"counts": {"en": 2, "de": 1}, "samples": 3, "errors": 1}}
    assert summary["assertions"] == {
        "same_language": {
            "share": pytest.approx(2 / 3),
            "passed": 2,
            "samples": 3,
            "errors": 2,
            "unit": "share",
            "direction": "higher",
            "aggregate": "share",
        }
    }
    assert set(summary["metrics"]) == {"exact_match"}
    assert summarise([row("x")], [], [SAME_LANGUAGE])["assertions"]["same_language"]["share"] is None


def test_result_files(row, tmp_path: Path) -> None:
    cases = [
        case(1.0) | {"assertions": {"same_language": {"passed": False, "reason": "de"}}},
        case(error="crash \u2028"),
    ]
    summary = summarise([row("x")], cases, [exact_match, decline_accuracy, LANGUAGE, SAME_LANGUAGE])
    write_results(tmp_path / "out", summary, cases)
    flat = {"exact_match": 1.0, "decline_accuracy": None, "same_language": 0.0}
    assert read_json(tmp_path / "out" / "metrics.json") == flat
    assert read_json(tmp_path / "out" / "summary.json") == summary
    assert read_jsonl(tmp_path / "out" / "cases.jsonl") == cases
