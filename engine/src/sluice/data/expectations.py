"""Validates a row's `expect`: checks must be executable, and must not contradict each other.

Imports jsonschema where it is used: `expect` is rare, and serving has no need of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from sluice.data.rows import ExpectedBehaviour, Row
from sluice.data.scanning import LocatedRecord, ValidationIssue

_ALIKE = str.maketrans("-\u2010\u2011\u2012\u2013\u2014\u2212‘’“”", " " * 7 + "''" + '""')


def states_key(text: str, key: Iterable[Iterable[str]]) -> bool:
    """Whether a text states every fact of a row's `expect.answer_key`, by one of its texts each."""
    held = _alike(text)
    return all(any(_states(held, _alike(one)) for one in fact) for fact in key)


def _alike(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text.translate(_ALIKE)).casefold().split())


def _states(held: str, one: str) -> bool:
    before, after = r"(?<!\d)" if one[:1].isdigit() else "", r"(?!\d)" if one[-1:].isdigit() else ""
    return bool(re.search(before + re.escape(one) + after, held))


def check_expectations(rows: Sequence[LocatedRecord[Row]]) -> list[ValidationIssue]:
    """Faults of `expect`, for rows that have one."""
    return [placed.fault(what) for placed in rows if placed.value.expect for what in faults_of(placed.value.expect)]


def faults_of(expect: ExpectedBehaviour) -> list[str]:
    """What is wrong with it, each as `expect.key: what`."""
    if expect == ExpectedBehaviour():
        return ["expect: holds no check; leave it out"]
    faults = []
    for key, values in (("contains", expect.contains), ("not_contains", expect.not_contains)):
        if not all(value.strip() for value in values):
            faults.append(f"expect.{key}: a text is blank")
    banned = [text.casefold() for text in expect.not_contains if text.strip()]
    both = [text for text in expect.contains if any(part in text.casefold() for part in banned)]
    faults += [f"expect: {text!r} is both wanted (contains) and not wanted (not_contains)" for text in both]
    if expect.regex is not None and (what := fault_of_regex(expect.regex)):
        faults.append(f"expect.regex: {what}")
    if expect.json_schema is not None and (what := fault_of_schema(expect.json_schema)):
        faults.append(f"expect.json_schema: {what}")
    if not all(fact and all(text.strip() for text in fact) for fact in expect.answer_key):
        faults.append("expect.answer_key: a fact has no text, or a blank one")
    if expect.rubric is not None and not expect.rubric.strip():
        faults.append("expect.rubric: is blank")
    return faults


def fault_of_regex(pattern: str) -> str | None:
    """Why a pattern cannot be used, or None."""
    import regex

    if not pattern:
        return "is empty and would match every answer"
    try:
        regex.compile(pattern)
    except regex.error as error:
        return f"{pattern!r} is no regular expression: {error.msg} at position {error.pos}"
    return None


def fault_of_schema(schema: dict[str, Any]) -> str | None:
    """Why a JSON Schema cannot be used, or None. Without `$schema` it is of draft 2020-12."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for

    if not schema:
        return "is empty and would accept every JSON"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {error.json_path}: {error.message}"
    return None
