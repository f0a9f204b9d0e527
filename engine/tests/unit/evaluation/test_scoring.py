from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from sluice.data.rows import Row
from sluice.evaluation.metrics.exact_match import exact_match
from sluice.evaluation.metrics.request import latency_p50_ms
from sluice.evaluation.output import Assertion, Label, Output
from sluice.evaluation.scoring import rescore, run_metrics


class Metric:
    """Gives `result`, or raises it; as a coroutine when `later`."""

    version, unit, direction = "1", "share", "higher"

    def __init__(self, name: str, result: Any, aggregate: str = "mean", *, later: bool = False) -> None:
        self.name, self.result, self.aggregate, self.later = name, result, aggregate, later

    def score(self, row: Any, output: Any) -> Any:  # noqa: ARG002 - the protocol's signature
        if self.later:
            return self._later()
        return self._now()

    async def _later(self) -> Any:
        await asyncio.sleep(0)
        return self._now()

    def _now(self) -> Any:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.fixture
def scored(row, output):
    return lambda *metrics: asyncio.run(run_metrics(row("x"), output("y"), metrics))


@pytest.mark.parametrize("later", [False, True])
def test_scores_labels_and_assertions_are_kept_apart(scored, later: bool) -> None:
    found = scored(
        Metric("score", 0.5, later=later),
        Metric("whole", 2, later=later),
        Metric("label", Label("en"), "counts", later=later),
        Metric("assertion", Assertion(False, "too long"), "share", later=later),
    )
    assert found == {
        "scores": {"score": 0.5, "whole": 2.0},
        "labels": {"label": "en"},
        "assertions": {"assertion": {"passed": False, "reason": "too long"}},
        "errors": {},
    }


def test_what_does_not_apply_is_no_result(scored) -> None:
    found = scored(Metric("score", None), Metric("label", None, "counts"), Metric("assertion", None, "share"))
    assert found == {"scores": {"score": None}, "labels": {}, "assertions": {}, "errors": {}}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("result", "aggregate", "error"),
    [
        (ZeroDivisionError("by zero"), "mean", "ZeroDivisionError: by zero"),
        (float("nan"), "mean", "ValueError: the score is nan"),
        (float("-inf"), "p95", "ValueError: the score is -inf"),
        (0.5, "share", "TypeError: gave float, but its aggregate 'share' is of Assertion"),
        (True, "share", "TypeError: gave bool, but its aggregate 'share' is of Assertion"),
        (True, "mean", "TypeError: gave bool, but its aggregate 'mean' is of float"),
        (Label("en"), "mean", "TypeError: gave Label, but its aggregate 'mean' is of float"),
        (Assertion(True), "counts", "TypeError: gave Assertion, but its aggregate 'counts' is of Label"),
        ("en", "counts", "TypeError: gave str, but its aggregate 'counts' is of Label"),
    ],
)
def test_a_metric_that_fails_is_an_error_and_the_others_stand(scored, later, result, aggregate, error) -> None:
    found = scored(Metric("bad", result, aggregate, later=later), Metric("good", 1.0))
    assert found == {"scores": {"good": 1.0}, "labels": {}, "assertions": {}, "errors": {"bad": error}}


def test_an_interrupt_is_no_error_of_a_metric(scored) -> None:
    with pytest.raises(KeyboardInterrupt):
        scored(Metric("bad", KeyboardInterrupt()), Metric("good", 1.0))


ROW = Row(id="a", question="How much overlap?", answers=("64 tokens",), doc_ids=("chunking",))
RECORD: dict[str, Any] = {
    "id": "a",
    "answer": "64 tokens",
    "declined": False,
    "retrieved": ["chunking"],
    "citations": ["chunking"],
    "latency_ms": 12.5,
    "ttft_ms": None,
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "scores": {"of_an_older_version": 0.1},
    "errors": {"gone": "it crashed"},
}
SCORE = partial(run_metrics, metrics=(exact_match, latency_p50_ms))


def test_answers_get_the_scores_of_today_and_lose_those_of_before() -> None:
    (found,) = rescore([RECORD], [ROW], SCORE)
    assert found["scores"] == {"exact_match": 1.0, "latency_p50_ms": 12.5}
    assert (found["labels"], found["assertions"], found["errors"]) == ({}, {}, {})
    assert {key: found[key] for key in RECORD if key not in ("scores", "errors")} == {
        key: value for key, value in RECORD.items() if key not in ("scores", "errors")
    }
    assert RECORD["scores"] == {"of_an_older_version": 0.1}


def test_a_case_without_an_answer_stays_what_it_is() -> None:
    failed = RECORD | {"status": "failed", "answer": None, "scores": {}, "errors": {"f1": "ModelError: gone"}}
    missed = RECORD | {"status": "not_evaluated", "answer": None, "scores": {}, "errors": {"replay": "not there"}}
    assert rescore([failed, missed], [ROW], SCORE) == [failed, missed]


def test_a_record_is_what_the_metrics_saw() -> None:
    seen = Output("64 tokens", False, ("chunking",), ("chunking",), 12.5, None, 9, 2)
    assert Output.from_record(RECORD) == seen
    later = {"passages": ["p"], "cost": 0.5, "recorded": True}
    assert Output.from_record(RECORD | later) == Output(
        "64 tokens", False, ("chunking",), ("chunking",), 12.5, None, 9, 2, passages=("p",), cost=0.5, recorded=True
    )
