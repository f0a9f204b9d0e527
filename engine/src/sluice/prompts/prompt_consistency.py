"""Consistency of a prompt file: names, roles, variables and test data must match.

It checks the raw document and skips malformed parts, which are reported already. So a wrong number hides no wrong name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from sluice.core.settings import Lines, Place, nearest, place_of
from sluice.prompts.prompt import EXPECTED, PLACEHOLDER, Variable

Finding = tuple[Place, str]  # where it is, and what is wrong


def inconsistencies(path: PurePath, document: Any, lines: Lines, roles: Collection[str]) -> list[str]:
    """`path:line: key: what` for each. `roles`: those that exist; empty means any is taken."""
    if not isinstance(document, dict):
        return []
    findings = [*_names(path, document, roles), *_variables(document), *_test_data(document)]
    return [f"{place_of(path, place, lines)}: {what}" for place, what in findings]


def _names(path: PurePath, document: dict[Any, Any], roles: Collection[str]) -> Iterator[Finding]:
    name, role = document.get("name"), document.get("model")
    if isinstance(name, str) and path.name != f"{name}.prompt.yml":
        yield ("name",), f"is {name!r}, but the file is named {path.name!r}"
    if isinstance(role, str) and roles and role not in roles:
        yield ("model",), f"no role {role!r}{nearest(role, list(roles))}"


def _variables(document: dict[Any, Any]) -> Iterator[Finding]:
    messages, all_messages = _entries(document.get("messages"), "content")
    variables, all_variables = _entries(document.get("variables", []), "name")
    declared = [name for _, name in variables]
    used = {name for _, content in messages for name in PLACEHOLDER.findall(content)}
    if all_variables:
        for number, content in messages:
            for name in sorted(set(PLACEHOLDER.findall(content)) - set(declared)):
                yield ("messages", number, "content"), f"undeclared variable {name!r}{nearest(name, declared)}"
    for position, (number, name) in enumerate(variables):
        if all_messages and name not in used:
            yield ("variables", number), f"{name!r} is declared but never used"
        if name in declared[:position]:
            yield ("variables", number), f"{name!r} is declared twice"


def _test_data(document: dict[Any, Any]) -> Iterator[Finding]:
    variables, whole = _entries(document.get("variables", []), "name")
    rows = document.get("testData")
    if not whole or not isinstance(rows, list):
        return
    declared = {variable.name: variable for variable in _well_formed(document)}
    names = [name for _, name in variables]
    for number, values in enumerate(rows):
        if not isinstance(values, dict):
            continue
        for name, value in values.items():
            place = ("testData", number, str(name))
            if name == EXPECTED and name not in names:
                answers = value if isinstance(value, list) else [value]
                if wrong := [answer for answer in answers if not isinstance(answer, str)]:
                    yield place, f"{wrong[0]!r} is no text; put it in quotes"
            elif name not in names:
                yield place, f"no variable {name!r}{nearest(str(name), names)}"
            elif name in declared and (fault := declared[name].fault(value)):
                yield place, fault
        if missing := [name for name, variable in declared.items() if variable.required and name not in values]:
            yield ("testData", number), f"no value for {', '.join(missing)}"


def _entries(entries: Any, key: str) -> tuple[list[tuple[int, str]], bool]:
    """(number, text under `key`) of the entries that have it, and whether all of them do."""
    if not isinstance(entries, (list, tuple)):
        return [], False
    found = [
        (number, entry[key])
        for number, entry in enumerate(entries)
        if isinstance(entry, dict) and isinstance(entry.get(key), str)
    ]
    return found, len(found) == len(entries)


def _well_formed(document: dict[Any, Any]) -> Iterator[Variable]:
    for entry in document.get("variables") or []:
        try:
            yield Variable.model_validate(entry)
        except ValidationError:
            continue
