from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.asked_rows import spread
from sluice.evaluation.output import Output, Result
from sluice.evaluation.recorded_chat import NotRecordedError
from sluice.evaluation.registry import make_metrics
from sluice.evaluation.runner import run_cases


class Metric:
    version, unit, direction, aggregate = "1", "share", "higher", "mean"

    def __init__(self, name: str, result: Any) -> None:
        self.name, self.result = name, result

    def score(self, row: Row, output: Output) -> Result:  # noqa: ARG002
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Application:
    """Answers with the question; what is listed in `faults` is raised. Counts how many are asked at once."""

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
    assert set(case["scores"]) == {
        metric.name for metric in make_metrics() if metric.aggregate in ("mean", "p50", "p95")
    }
    assert case["errors"] == {}
    assert seen == [(1, 1)]
    json.dumps(case, allow_nan=False)


def test_an_application_that_raises_is_an_error_of_every_metric(row, output) -> None:
    rows = [row("x", id=name) for name in ("a", "b", "c")]
    cases, seen = run(rows, Application(output, faults={"b?": TimeoutError("no answer")}))
    assert cases[1]["errors"] == {metric.name: "TimeoutError: no answer" for metric in make_metrics()}
    assert (cases[1]["answer"], cases[1]["scores"]) == (None, {})
    assert (cases[1]["labels"], cases[1]["assertions"]) == ({}, {})
    assert [case["status"] for case in cases] == ["answered", "failed", "answered"]
    assert set(cases[1]) == KEYS
    assert cases[0]["errors"] == cases[2]["errors"] == {}
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (float("nan"), "ValueError: the score is nan"),
        (float("inf"), "ValueError: the score is inf"),
    ],
)
def test_a_metric_that_fails_is_its_own_record(row, output, result: Any, error: str) -> None:
    (case,), _ = run([row("x")], Application(output), [Metric("good", 0.5), Metric("bad", result), Metric("no", None)])
    assert case["scores"] == {"good": 0.5, "no": None}
    assert case["errors"] == {"bad": error}


def test_order_is_that_of_the_rows(row, output) -> None:
    rows = [row("x", id=f"r{number}") for number in range(6)]
    delays = {f"r{number}?": 0.03 - number * 0.005 for number in range(6)}  # the last is ready first
    cases, seen = run(rows, Application(output, delays=delays), concurrency=6)
    assert [case["id"] for case in cases] == [f"r{number}" for number in range(6)]
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_are_asked_at_once_than_allowed(row, output, concurrency: int) -> None:
    application = Application(output)
    run([row("x", id=f"r{number}") for number in range(9)], application, concurrency=concurrency)
    assert application.most == concurrency


def test_each_trial_is_a_record_of_its_own(row, output) -> None:
    application = Application(output)
    cases, seen = run([row("x", id=name) for name in ("a", "b")], application, trials=3)
    assert [(case["id"], case["trial"]) for case in cases] == [(name, n) for name in ("a", "b") for n in range(3)]
    assert sorted(application.trials) == [(f"{name}?", n) for name in ("a", "b") for n in range(3)]
    assert seen[-1] == (6, 6)


def test_a_case_that_replay_does_not_find_has_no_result_at_all(row, output) -> None:
    (case,), _ = run([row("x", id="a")], Application(output, faults={"a?": NotRecordedError("not there")}))
    assert set(case) == KEYS
    assert (case["status"], case["errors"]) == ("not_evaluated", {"replay": "not there"})
    assert (case["answer"], case["scores"], case["labels"], case["assertions"]) == (None, {}, {}, {})


def test_an_empty_evaluation_set_is_refused(output) -> None:
    with pytest.raises(SluiceError, match="the evaluation set is empty"):
        run([], Application(output))


def test_rows_that_cannot_be_evaluated_are_all_named_and_nothing_is_asked(row, output) -> None:
    application = Application(output)
    rows = [row("x", id="a"), row("y", id="a"), row(id="b", docs=("right",)), row("z", id="c")]
    with pytest.raises(ValidationErrors) as error:
        run(rows, application)
    assert error.value.faults == [
        "'a': 2 rows have this id",
        "'b': it has no answers (decline) but names documents",
    ]
    assert application.trials == []


@pytest.mark.parametrize(
    ("count", "limit", "taken"),
    [
        (4, 0, [0, 1, 2, 3]),
        (4, 4, [0, 1, 2, 3]),
        (4, 9, [0, 1, 2, 3]),
        (10, 5, [0, 2, 4, 6, 8]),
        (10, 3, [0, 3, 6]),
        (10, 1, [0]),
        (0, 3, []),
    ],
)
def test_spread_is_even_and_in_order(count: int, limit: int, taken: list[int]) -> None:
    assert spread(list(range(count)), limit) == taken


def test_spread_never_takes_a_row_twice() -> None:
    rows = list(range(150))
    for limit in range(1, 151):
        assert len(set(spread(rows, limit))) == limit
