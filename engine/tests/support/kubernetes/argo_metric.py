"""What Argo Rollouts 1.9.1 makes of a metric of an AnalysisTemplate, after its sources: utils/evaluate/evaluate.go and
metricproviders/prometheus/prometheus.go.

Of its conditions `judge` knows the one form that our templates have (engine/tests/contract/test_analysis.py).
"""

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Literal

Phase = Literal["Successful", "Failed", "Error"]
DEFAULT_CONSECUTIVE_ERRORS = 4
_CONDITION = re.compile(
    r"len\(result\) == 1 && !isNaN\(result\[0\]\) && !isInf\(result\[0\]\) && result\[0\] (>=|<=) (-?[\d.]+)"
)


def judge(metric: Mapping[str, Any], result: list[float]) -> Phase:
    known = _CONDITION.fullmatch(metric["successCondition"])
    assert known, f"another condition: {metric['successCondition']}"
    assert "failureCondition" not in metric
    if len(result) != 1 or not math.isfinite(result[0]):
        return "Failed"
    limit = float(known[2])
    return "Successful" if (result[0] >= limit if known[1] == ">=" else result[0] <= limit) else "Failed"


def resolve(value: Any, arguments: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{\{\s*args\.([\w-]+)\s*\}\}", lambda found: arguments[found[1]], value)
    if isinstance(value, Mapping):
        return {key: resolve(one, arguments) for key, one in value.items()}
    return [resolve(one, arguments) for one in value] if isinstance(value, list) else value


def defaults(template: Mapping[str, Any]) -> dict[str, str]:
    return {arg["name"]: arg["value"] for arg in template["spec"]["args"] if "value" in arg}


def ask(address: str, query: str, timeout: float) -> list[float]:
    """Return the values of an instant vector."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout) as response:
        answer = json.load(response)
    assert answer["data"]["resultType"] == "vector", answer
    return [float(sample["value"][1]) for sample in answer["data"]["result"]]


def measure(metric: Mapping[str, Any]) -> tuple[Phase, list[float]]:
    prometheus = metric["provider"]["prometheus"]
    try:
        result = ask(prometheus["address"], prometheus["query"], prometheus["timeout"])
    except OSError:
        return "Error", []
    return judge(metric, result), result
