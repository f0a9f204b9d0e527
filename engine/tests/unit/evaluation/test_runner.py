import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.asked_rows import spread
from sluice.evaluation.metrics import decline_accuracy, exact_match
from sluice.evaluation.registry import Assertion, Label, NamedMeasure, Output, make_metrics
from sluice.evaluation.response_cache import NotRecordedError
from sluice.evaluation.runner import run_cases, run_metrics
from sluice.evaluation.summary import percentile, summarise, write_results


class Application:
    def __init__(self, output, *, faults: dict[str, Exception] | None = None, delays: dict[str, float] | None = None):
        self.output, self.faults, self.delays = output, faults or {}, delays or {}
        self.now = self.most = 0
        self.trials: list[tuple[str, int]] = []

    async def ask(self, row: Row, *, trial: int) -> Output:
        question = row.question
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.delays.get(question, 0.001))
        self.now -= 1
        self.trials.append((question, trial))
        if question in self.faults:
            raise self.faults[question]
        return self.output(question)


def run(
    rows, application, metrics=make_metrics(), concurrency: int = 1, trials: int = 1
) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    seen: list[tuple[int, int]] = []
    asking = run_cases(
        rows,
        application,
        metrics,
        concurrency=concurrency,
        trials=trials,
        on_progress=lambda *shown: seen.append(shown),
    )
    return asyncio.run(asking), seen


KEYS = {
    "id", "trial", "question", "expected", "tags", "status", "answer", "declined", "retrieved", "passages", "citations",
    "latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "cost", "recorded", "scores", "labels", "assertions",
    "errors",
}  # fmt: skip


def test_a_record_is_what_the_reference_says(row, output) -> None:
    (case,), seen = run([row("q", id="q")], Application(output))
    assert set(case) == KEYS
    assert (case["status"], case["trial"], case["recorded"]) == ("answered", 0, False)
    assert (case["answer"], case["latency_ms"], case["ttft_ms"]) == ("q?", 12.3, 5.7)
    assert set(case["scores"]) == {one.name for one in make_metrics() if one.aggregate in ("mean", "p50", "p95")}
    assert case["errors"] == {}
    assert seen == [(1, 1)]
    json.dumps(case, allow_nan=False)


def test_an_application_that_raises_is_an_error_of_every_metric(row, output) -> None:
    rows = [row("x", id=name) for name in ("a", "b", "c")]
    faults = {"b?": TimeoutError("no answer"), "c?": NotRecordedError("not there")}
    cases, seen = run(rows, Application(output, faults=faults))
    assert [case["status"] for case in cases] == ["answered", "failed", "not_evaluated"]
    assert [case["errors"] for case in cases] == [
        {},
        {metric.name: "TimeoutError: no answer" for metric in make_metrics()},
        {"replay": "not there"},
    ]
    for case in cases[1:]:
        assert set(case) == KEYS
        assert [case[key] for key in ("answer", "scores", "labels", "assertions")] == [None, {}, {}, {}]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_trials_come_in_the_order_of_the_rows_and_no_more_at_once_than_allowed(row, output) -> None:
    names = [f"r{number}" for number in range(4)]
    application = Application(output, delays={"r0?": 0.05})  # the first is ready last
    cases, seen = run([row("x", id=name) for name in names], application, concurrency=3, trials=2)
    assert [(case["id"], case["trial"]) for case in cases] == [(name, n) for name in names for n in range(2)]
    assert sorted(application.trials) == [(f"{name}?", n) for name in names for n in range(2)]
    assert (application.most, seen[-1]) == (3, (8, 8))


def test_rows_that_cannot_be_evaluated_are_all_named_and_nothing_is_asked(row, output) -> None:
    application = Application(output)
    rows = [row("x", id="a"), row("y", id="a"), row(id="b", docs=("right",)), row("z", id="c")]
    with pytest.raises(ValidationErrors) as error:
        run(rows, application)
    assert error.value.faults == ["'a': 2 rows have this id", "'b': it has no answers (decline) but names documents"]
    with pytest.raises(SluiceError, match="the evaluation set is empty"):
        run([], application)
    assert application.trials == []


def test_spread_is_even_and_in_order() -> None:
    assert spread([*range(10)], 5) == [0, 2, 4, 6, 8]
    assert spread([*range(4)], 0) == spread([*range(4)], 4) == [0, 1, 2, 3]


class Metric:
    version, unit, direction = "1", "share", "higher"

    def __init__(self, name: str, result: Any, aggregate: str = "mean", *, later: bool = False) -> None:
        self.name, self.result, self.aggregate, self.later = name, result, aggregate, later

    def score(self, row: Any, output: Any) -> Any:  # noqa: ARG002 - the protocol's signature
        return self._later() if self.later else self._now()

    async def _later(self) -> Any:
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


@pytest.mark.parametrize(
    ("later", "result", "aggregate", "error"),
    [
        (False, ZeroDivisionError("by zero"), "mean", "ZeroDivisionError: by zero"),
        (True, ZeroDivisionError("by zero"), "mean", "ZeroDivisionError: by zero"),
        (False, float("nan"), "p95", "ValueError: the score is nan"),
        (True, True, "mean", "TypeError: gave bool, but its aggregate 'mean' is of float"),
        (False, 0.5, "share", "TypeError: gave float, but its aggregate 'share' is of Assertion"),
        (False, "en", "counts", "TypeError: gave str, but its aggregate 'counts' is of Label"),
    ],
)
def test_a_metric_that_fails_is_an_error_and_the_others_stand(scored, later, result, aggregate, error) -> None:
    found = scored(Metric("bad", result, aggregate, later=later), Metric("good", 1.0))
    assert found == {"scores": {"good": 1.0}, "labels": {}, "assertions": {}, "errors": {"bad": error}}


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile(range(1, 22), 0.95) == 20


LANGUAGE = NamedMeasure("language", "language", None, "counts")
SAME_LANGUAGE = NamedMeasure("same_language", aggregate="share")


def case(score: float) -> dict[str, Any]:
    return {"id": "q", "scores": {"exact_match": score}, "errors": {}}


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
    (exact,) = summary["metrics"].values()
    assert (exact["value"], exact["samples"], exact["errors"]) == (1.0, 5, 1), "errors are never averaged"
    assert summarise([row("x")], [], [SAME_LANGUAGE])["assertions"]["same_language"]["share"] is None


def test_result_files(row, tmp_path: Path) -> None:
    cases = [
        case(1.0) | {"assertions": {"same_language": {"passed": False, "reason": "de"}}},
        {"id": "r", "scores": {}, "errors": {"exact_match": "crash \u2028"}},
    ]
    summary = summarise([row("x")], cases, [exact_match, decline_accuracy, LANGUAGE, SAME_LANGUAGE])
    write_results(tmp_path / "out", summary, cases)
    flat = {"exact_match": 1.0, "decline_accuracy": None, "same_language": 0.0}
    assert read_json(tmp_path / "out" / "metrics.json") == flat
    assert read_json(tmp_path / "out" / "summary.json") == summary
    assert read_jsonl(tmp_path / "out" / "cases.jsonl") == cases
