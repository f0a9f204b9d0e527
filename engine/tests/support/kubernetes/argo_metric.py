"""What Argo Rollouts makes of a metric of an AnalysisTemplate, after its sources: utils/evaluate/evaluate.go,
metricproviders/prometheus/prometheus.go and analysis/analysis.go.

Conditions are those of expr-lang. `holds` knows the part of it that our templates use, and refuses everything else:
numbers, `result`, `result[0]`, `len`, `isNaN`, `isInf`, comparisons, `!` before a call, `&&`, `||` and parentheses.
"""

from __future__ import annotations

import ast
import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

Phase = Literal["Successful", "Failed", "Inconclusive", "Error", "Running"]
DEFAULT_CONSECUTIVE_ERRORS = 4

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"len": len, "isNaN": math.isnan, "isInf": math.isinf}
_COMPARE: dict[type, Callable[[float, float], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


class ConditionError(Exception):
    """Argo would report an error of the measurement, or the condition uses what this evaluator does not know."""


def holds(condition: str, result: list[float]) -> bool:
    """Whether `condition` is true for the values of a Prometheus vector."""
    if re.search(r"\b(and|or|not|in|if|else|is|lambda|True|False)\b|[#\"']", condition):
        raise ConditionError(f"not in the part of expr-lang that is known here: {condition}")
    python = re.sub(r"!(?!=)", " not ", condition.replace("&&", " and ").replace("||", " or "))
    try:
        tree = ast.parse(python.strip(), mode="eval").body
    except SyntaxError as error:
        raise ConditionError(f"{condition}: {error.msg}") from None
    value = _value(tree, result)
    if not isinstance(value, bool):
        raise ConditionError(f"expected bool, but got {type(value).__name__}")
    return value


def _value(node: ast.expr, result: list[float]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Name(id="result"):
            return result
        case ast.Subscript(value=ast.Name(id="result"), slice=ast.Constant(value=int() as place)):
            if not 0 <= place < len(result):
                raise ConditionError(f"index out of range: {place} (array length is {len(result)})")
            return result[place]
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(argument, result))
        # In expr-lang `!` binds tighter than a comparison, in Python it does not: only a call may follow.
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            return not _boolean(call, result)
        case ast.BoolOp(op=operator, values=values):
            wanted = isinstance(operator, ast.And)
            return all(_boolean(one, result) for one in values) if wanted else any(_boolean(o, result) for o in values)
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARE:
            sides = (_value(left, result), _value(right, result))
            if any(isinstance(side, bool | list) for side in sides):
                raise ConditionError("only numbers are compared")
            return _COMPARE[type(operator)](*sides)
    raise ConditionError(f"not in the part of expr-lang that is known here: {ast.unparse(node)}")


def _boolean(node: ast.expr, result: list[float]) -> bool:
    value = _value(node, result)
    if not isinstance(value, bool):
        raise ConditionError(f"{ast.unparse(node)} is not a bool")
    return value


def judge(metric: Mapping[str, Any], result: list[float]) -> Phase:
    """The phase of one measurement. A condition that stands alone decides everything; neither of two: inconclusive."""
    success, failure = metric.get("successCondition"), metric.get("failureCondition")
    try:
        succeeded = holds(success, result) if success else None
        failed = holds(failure, result) if failure else None
    except ConditionError:
        return "Error"
    if failed is None:
        failed = not succeeded if succeeded is not None else False
    if succeeded is None:
        succeeded = not failed
    return "Failed" if failed else "Successful" if succeeded else "Inconclusive"


def resolve(value: Any, arguments: Mapping[str, str]) -> Any:
    """Puts the arguments into every string; KeyError for one that nobody gives."""
    if isinstance(value, str):
        return re.sub(r"\{\{\s*args\.([\w-]+)\s*\}\}", lambda found: arguments[found[1]], value)
    if isinstance(value, Mapping):
        return {key: resolve(one, arguments) for key, one in value.items()}
    return [resolve(one, arguments) for one in value] if isinstance(value, list) else value


def defaults(template: Mapping[str, Any]) -> dict[str, str]:
    return {arg["name"]: arg["value"] for arg in template["spec"]["args"] if "value" in arg}


def ask(address: str, query: str, timeout: float) -> list[float]:
    """The values of an instant vector. OSError when Prometheus does not answer or does not understand."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout) as response:
        answer = json.load(response)
    assert answer["data"]["resultType"] == "vector", answer
    return [float(sample["value"][1]) for sample in answer["data"]["result"]]


def measure(metric: Mapping[str, Any]) -> tuple[Phase, list[float]]:
    """One measurement of a resolved metric: its phase and what Prometheus said."""
    prometheus = metric["provider"]["prometheus"]
    try:
        result = ask(prometheus["address"], prometheus["query"], prometheus["timeout"])
    except OSError:
        return "Error", []
    return judge(metric, result), result


def assess(metric: Mapping[str, Any], phases: Sequence[Phase]) -> Phase:
    """The phase of a metric after measurements with these phases, in order."""
    errors = 0
    for phase in phases:
        errors = errors + 1 if phase == "Error" else 0
    found: Phase = "Running"
    if phases.count("Failed") > metric.get("failureLimit", 0):
        found = "Failed"
    if phases.count("Inconclusive") > metric.get("inconclusiveLimit", 0):
        found = "Inconclusive"
    if errors > metric.get("consecutiveErrorLimit", DEFAULT_CONSECUTIVE_ERRORS):
        found = "Error"
    if found == "Running" and len(phases) - phases.count("Error") >= metric.get("count", 1):
        found = "Successful"
    return found


def outcome(metric: Mapping[str, Any], once: Phase) -> tuple[Phase, int]:
    """How a metric ends whose every measurement ends as `once`, and after how many of them."""
    phases: list[Phase] = []
    while (found := assess(metric, phases)) == "Running":
        phases.append(once)
    return found, len(phases)
