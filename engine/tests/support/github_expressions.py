"""Conditions of jobs, evaluated as GitHub does.

A double of GitHub's evaluator, from its documentation (github/docs, content/actions/reference/workflows-and-actions/
expressions.md, of 2026): literals, operators and their coercions, `contains`, `fromJSON`, object filters, and the
status functions of jobs. A condition without a status function has `success()` before it. `success()` is about all
ancestors of a job, and a skipped one is none; a job that ran out of time or was lost is `cancelled`, which is no
`failure()`, and the workflow is not `cancelled()` by it. engine/tests/workflows/test_day_one.py compares it with act.
An expression is rewritten as one of Python, whose operators `_Value` gives GitHub's meaning.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_PART = re.compile(
    r"'(?P<text>(?:[^']|'')*)'|(?P<number>-?\d+(?:\.\d+)?)|\.\s*(?P<star>\*)|\.\s*(?P<key>[\w-]+)"
    r"|(?P<call>[A-Za-z]\w*)(?=\()|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>&&|\|\||!(?!=))"
)
_SIGNS = {"&&": " and ", "||": " or ", "!": " ~"}  # `~` binds as closely as GitHub's `!`
_LITERALS = {"true": True, "false": False, "null": None}
_STATUS = re.compile(r"\b(?:always|cancelled|failure|success)\s*\(")
Needs = Mapping[str, Mapping[str, Any]]


def runs(condition: str, context: Mapping[str, Any], ancestors: Mapping[str, str], *, cancelled: bool = False) -> bool:
    """Whether a job begins. `ancestors`: the results of all jobs before it; `cancelled`: somebody cancelled the run."""
    text = condition.strip()
    if text.startswith("${{") and text.endswith("}}"):
        text = text[3:-2]
    functions: dict[str, Callable[..., Any]] = {
        "always": lambda: True,
        "cancelled": lambda: cancelled,
        "failure": lambda: "failure" in ancestors.values() and not cancelled,
        "success": lambda: set(ancestors.values()) <= {"success"} and not cancelled,
    }
    if not _STATUS.search(text):
        text = f"success() && ({text})" if text.strip() else "success()"
    return bool(_Value(evaluate(text, context, functions)))


def evaluate(text: str, context: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    known = {"contains": _contains, "fromJSON": json.loads, **(functions or {})}
    parts: list[_Value] = []

    def written(found: re.Match[str]) -> str:
        if found["star"] or found["key"]:
            return ".each()" if found["star"] else f"[{found['key']!r}]"
        if found["call"] or found["sign"]:
            return f"call({found['call']!r})" if found["call"] else _SIGNS[found["sign"]]
        if found["text"] is not None:
            value: Any = found["text"].replace("''", "'")
        elif found["number"]:
            value = float(found["number"])
        else:
            value = _LITERALS[found["name"]] if found["name"] in _LITERALS else context.get(found["name"])
        parts.append(_Value(value))
        return f"parts[{len(parts) - 1}]"

    def call(name: str) -> Callable[..., _Value]:
        return lambda *given: _Value(known[name](*(one.value for one in given)))

    return eval(_PART.sub(written, text.strip()), {"__builtins__": {}, "parts": parts, "call": call}).value


class _Value:
    """Strings are compared without regard to case, values of two kinds as numbers; NaN is unequal to everything."""

    def __init__(self, value: Any, *, filtered: bool = False) -> None:
        self.value = value
        self._filtered = filtered

    def each(self) -> _Value:
        """The object filter `*`."""
        inner = self.value.values() if isinstance(self.value, Mapping) else self.value or []
        return _Value(list(inner), filtered=True)

    def __getitem__(self, key: Any) -> _Value:
        key = key.value if isinstance(key, _Value) else key
        if self._filtered:
            return _Value([one[key] for one in self.value if isinstance(one, Mapping) and key in one])
        if isinstance(self.value, list):
            return _Value(self.value[int(key)] if int(key) < len(self.value) else None)
        return _Value(self.value.get(key) if isinstance(self.value, Mapping) else None)

    def __bool__(self) -> bool:
        is_number = isinstance(self.value, (int, float))
        return not (self.value is None or self.value == "" or (is_number and not abs(self.value) > 0))

    def __invert__(self) -> _Value:
        return _Value(not self)

    def __eq__(self, other: object) -> _Value:  # type: ignore[override]
        return self._compared(operator.eq, other)

    def __ne__(self, other: object) -> _Value:  # type: ignore[override]
        return ~(self == other)

    def __lt__(self, other: _Value) -> _Value:
        return self._compared(operator.lt, other)

    def __le__(self, other: _Value) -> _Value:
        return self._compared(operator.le, other)

    __hash__ = None  # type: ignore[assignment]

    def _compared(self, compare: Callable[[Any, Any], bool], other: Any) -> _Value:
        one, two = self.value, other.value
        if isinstance(one, str) and isinstance(two, str):
            one, two = one.lower(), two.lower()
        elif type(one) is not type(two):
            one, two = _number(one), _number(two)
        return _Value(compare(one, two))


def _contains(there: Any, wanted: Any) -> bool:
    if isinstance(there, list):
        return any((_Value(one) == _Value(wanted)).value for one in there)
    return str(wanted or "").lower() in str(there or "").lower()


def _number(value: Any) -> float:
    try:
        return 0.0 if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return math.nan
