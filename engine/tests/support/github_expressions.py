"""Conditions of jobs, evaluated as GitHub does.

A double of GitHub's evaluator, from its documentation (github/docs, content/actions/reference/workflows-and-actions/
expressions.md, of 2026): literals, operators and their coercions, `contains`, `fromJSON`, object filters, and the
status functions of jobs. A condition without a status function has `success()` before it. `success()` is about all
ancestors of a job, and a skipped one is none; a job that ran out of time or was lost is `cancelled`, which is no
`failure()`, and the workflow is not `cancelled()` by it. engine/tests/workflows/test_expressions.py asks act, whose
evaluator is another, the same questions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|'(?P<string>(?:[^']|'')*)'|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>().,*\[\]]))"
)
_LITERALS = {"true": True, "false": False, "null": None}
_STATUS = re.compile(r"\b(?:always|cancelled|failure|success)\s*\(")
Needs = Mapping[str, Mapping[str, Any]]


def runs(condition: str, context: Mapping[str, Any], ancestors: Mapping[str, str], *, cancelled: bool = False) -> bool:
    """Whether a job begins.

    `condition`: what stands after `if:`, empty for none. `context`: `needs`, `vars`, `github` and so on. `ancestors`:
    results of all jobs before it. `cancelled`: whether somebody has cancelled the whole run."""
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
    return truth(evaluate(text, context, functions))


def evaluate(text: str, context: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """The value of an expression, without its braces."""
    reader = _Reader(text, context, functions or {})
    value = reader.either()
    assert reader.at_end, f"{text!r}: something is left behind {reader.place}"
    return value


def truth(value: Any) -> bool:
    return not (
        value is None or value is False or value == "" or (_is_number(value) and (value == 0 or value != value))
    )


class _Reader:
    def __init__(self, text: str, context: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> None:
        self._context = context
        self._functions = {"contains": _contains, "fromJSON": json.loads, **functions}
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            assert found, f"{text!r}: no token at {text[place:]!r}"
            self._tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            place = found.end()
        self.place = 0

    @property
    def at_end(self) -> bool:
        return self.place == len(self._tokens)

    def _take(self, *signs: str) -> str:
        """The next token, where it is one of these."""
        if not self.at_end and self._tokens[self.place] in [("sign", sign) for sign in signs]:
            self.place += 1
            return self._tokens[self.place - 1][1]
        return ""

    def _expect(self, sign: str) -> None:
        assert self._take(sign), f"no {sign} at {self.place}: {self._tokens}"

    def either(self) -> Any:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if truth(value) else other
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self._take("&&"):
            other = self._compared()
            value = other if truth(value) else value
        return value

    def _compared(self) -> Any:
        value = self._not()
        while sign := self._take("==", "!=", "<", "<=", ">", ">="):
            value = _compare(sign, value, self._not())
        return value

    def _not(self) -> Any:
        return not truth(self._not()) if self._take("!") else self._path()

    def _path(self) -> Any:
        value, filtered = self._atom(), False
        while sign := self._take(".", "["):
            if sign == "[":
                value = _get(value, self.either(), filtered=False)
                self._expect("]")
            elif self._take("*"):
                value, filtered = list(value.values() if isinstance(value, Mapping) else value or []), True
            else:
                value = _get(value, self._tokens[self.place][1], filtered=filtered)
                self.place += 1
        return value

    def _atom(self) -> Any:
        if self._take("("):
            value = self.either()
            self._expect(")")
            return value
        kind, text = self._tokens[self.place]
        self.place += 1
        if kind == "string":
            return text.replace("''", "'")
        if kind == "number":
            return float(text)
        assert kind == "name", f"{text} at {self.place}"
        if not self._take("("):
            return _LITERALS[text] if text in _LITERALS else self._context.get(text)
        given: list[Any] = []
        while not self._take(")"):
            given.append(self.either())
            self._take(",")
        return self._functions[text](*given)


def _get(value: Any, key: Any, *, filtered: bool) -> Any:
    if filtered:
        return [one[key] for one in value if isinstance(one, Mapping) and key in one]
    if isinstance(value, list):
        return value[int(key)] if int(key) < len(value) else None
    return value.get(key) if isinstance(value, Mapping) else None


def _compare(sign: str, one: Any, other: Any) -> bool:
    """Strings without regard to case; of two kinds, as numbers; NaN is unequal to everything."""
    if isinstance(one, str) and isinstance(other, str):
        one, other = one.lower(), other.lower()
    elif type(one) is not type(other):
        one, other = _number(one), _number(other)
    return {
        "==": lambda: one == other,
        "!=": lambda: one != other,
        "<": lambda: one < other,
        "<=": lambda: one <= other,
        ">": lambda: one > other,
        ">=": lambda: one >= other,
    }[sign]()


def _contains(there: Any, wanted: Any) -> bool:
    if isinstance(there, list):
        return any(_compare("==", one, wanted) for one in there)
    return str(wanted or "").lower() in str(there or "").lower()


def _number(value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, str):
        try:
            return float(value) if value.strip() else 0.0
        except ValueError:
            return math.nan
    return float(value) if isinstance(value, (bool, int, float)) else math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
