"""The evaluator that the truth table rests on: right where it answers, and it refuses what it does not know."""

from __future__ import annotations

import math
from typing import Any

import pytest

from support.kubernetes.argo_metric import ConditionError, assess, holds, judge, outcome, resolve

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("condition", "result", "wanted"),
    [
        ("result[0] >= 0.99", [0.99], True),
        ("result[0] >= 0.99", [0.98], False),
        ("result[0] >= -0.15", [-0.15], True),
        ("result[0] <= 2", [NAN], False),
        ("result[0] <= 2", [-INF], True),
        ("!isNaN(result[0])", [NAN], False),
        ("isInf(result[0]) || result[0] < 1", [-INF], True),
        ("len(result) == 1 && result[0] < 1", [], False),  # the second half is not looked at
        ("len(result) == 1 && result[0] < 1", [0.0, 0.0], False),
        ("result[0] != 1 && (result[1] == 2 || result[1] > 9)", [0.0, 2.0], True),
        ("result[0] > 1 || result[0] < 1 && len(result) == 2", [0.0], False),
    ],
)
def test_what_it_knows(condition: str, result: list[float], wanted: bool) -> None:
    assert holds(condition, result) is wanted


@pytest.mark.parametrize(
    "condition",
    [
        "result[0] < 1",  # nothing there: an error of Argo's, too
        "len(result)",  # not a bool
        "result[0]",
        "isNaN(result[0]) == false",
        "!isNaN(result[0]) == true",
        "all(result, # < 1)",
        "result[0] < 1 and true",
        "default(result, 0) < 1",
        "asFloat(result) < 1",
        "result[-1] < 1",
        "1 < result[0] < 2",
        "isNaN(result[0]) < 1",
        "!(result[0] < 1)",
        "result[0] ?? 1",
        "__import__(1)",
        "result[0] <",
        "",
    ],
)
def test_what_it_refuses(condition: str) -> None:
    with pytest.raises(ConditionError):
        holds(condition, [] if condition == "result[0] < 1" else [0.5])


def test_one_condition_decides_everything_and_two_leave_a_gap() -> None:
    success, failure = {"successCondition": "result[0] < 1"}, {"failureCondition": "result[0] > 2"}
    table: list[tuple[dict[str, Any], float, str]] = [
        (success, 0.5, "Successful"),
        (success, 1.5, "Failed"),
        (failure, 1.5, "Successful"),
        (failure, 2.5, "Failed"),
        (success | failure, 1.5, "Inconclusive"),
        ({}, 1.5, "Successful"),
    ]
    for metric, value, wanted in table:
        assert judge(metric, [value]) == wanted
    assert judge(success, []) == "Error"


def test_a_metric_ends_as_its_limits_say() -> None:
    metric = {"count": 3, "failureLimit": 0, "consecutiveErrorLimit": 1}
    assert assess(metric, []) == "Running"
    assert assess(metric, ["Successful", "Error", "Successful", "Error"]) == "Running"
    assert assess(metric, ["Successful", "Error", "Successful", "Error", "Successful"]) == "Successful"
    assert assess(metric, ["Successful", "Failed"]) == "Failed"
    assert assess(metric, ["Error", "Error"]) == "Error"
    assert assess(metric, ["Inconclusive"]) == "Inconclusive"
    assert outcome({"count": 3, "failureLimit": 1}, "Failed") == ("Failed", 2)
    assert outcome({"count": 3}, "Error") == ("Error", 5)


def test_arguments_are_put_in_everywhere_and_none_may_be_missing() -> None:
    document = {"query": "x[{{args.window}}] > {{ args.limit }}", "count": 3, "list": ["{{args.limit}}"]}
    assert resolve(document, {"window": "2m", "limit": "1"}) == {"query": "x[2m] > 1", "count": 3, "list": ["1"]}
    with pytest.raises(KeyError):
        resolve(document, {"window": "2m"})
