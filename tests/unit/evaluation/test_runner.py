from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sluice.data.rows import Row
from sluice.evaluation.metrics import METRICS
from sluice.evaluation.output import Output, Result
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

    async def ask(self, question: str) -> Output:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.delays.get(question, 0.001))
        self.now -= 1
        if question in self.faults:
            raise self.faults[question]
        return self.output(question)


def run(rows, application, metrics=METRICS, concurrency: int = 1) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    seen: list[tuple[int, int]] = []
    cases = asyncio.run(
        run_cases(rows, application, metrics, concurrency=concurrency, on_progress=lambda *shown: seen.append(shown))
    )
    return cases, seen


def test_a_record_is_what_the_architecture_says(row, output) -> None:
    (case,), seen = run([row("q", id="q")], Application(output))
    assert set(case) == {
        "id", "question", "expected", "tags", "answer", "declined", "retrieved", "passages", "citations", "scores",
        "labels", "assertions", "errors", "latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "cost",
    }  # fmt: skip
    assert (case["answer"], case["latency_ms"], case["ttft_ms"]) == ("q?", 12.3, 5.7)
    assert set(case["scores"]) == {metric.name for metric in METRICS if metric.aggregate in ("mean", "p50", "p95")}
    assert case["errors"] == {}
    assert seen == [(1, 1)]
    json.dumps(case, allow_nan=False)


def test_an_application_that_raises_is_an_error_of_every_metric(row, output) -> None:
    rows = [row("x", id=name) for name in ("a", "b", "c")]
    cases, seen = run(rows, Application(output, faults={"b?": TimeoutError("no answer")}))
    assert cases[1]["errors"] == {metric.name: "TimeoutError: no answer" for metric in METRICS}
    assert (cases[1]["answer"], cases[1]["scores"]) == (None, {})
    assert (cases[1]["labels"], cases[1]["assertions"]) == ({}, {})
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


def test_no_rows(output) -> None:
    assert run([], Application(output)) == ([], [])
