"""Test cases of a prompt: its own testData, or the lines of a file. Errors are reported before any request is sent.

A line is {id, vars: {variable: value}, expect: {…}}; `expect` has the keys of a row's `expect` and `expected`, which
stands beside the variables in testData: a right answer, several, or an empty list for a decline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, nearest
from sluice.data.expectations import faults_of
from sluice.data.rows import ExpectedBehaviour, Row
from sluice.data.scanning import read_text
from sluice.evaluation.answer_text import normalise
from sluice.prompts import Prompt
from sluice.prompts.prompt import EXPECTED

_REMEDY = "mend what is named; engine/docs/reference/evaluation.md says what a case holds"
_DECLINE = "decline"  # the variable that holds the wording of a decline


class CaseExpect(ExpectedBehaviour):
    """`expected`: None where nothing is said about the right answer."""

    expected: str | tuple[str, ...] | None = None


class CaseLine(Settings):
    """One line of a file of cases."""

    id: str
    vars: dict[str, Any]
    expect: CaseExpect = CaseExpect()


@dataclass(frozen=True)
class PromptCase:
    """`row` is what the metrics see of it; `declines`: it expects the wording in the variable `decline`."""

    prompt: Prompt
    row: Row
    messages: Sequence[Mapping[str, str]]
    declines: bool
    decline: str

    @property
    def checks(self) -> bool:
        """Whether there is anything that an answer could fail."""
        return bool(self.row.answers or self.row.expect or self.declines)

    def declined(self, text: str) -> bool:
        return bool(self.decline) and normalise(text) == normalise(self.decline)


def cases_of(prompts: Sequence[Prompt], folder: Path, lines: Path | None = None) -> list[PromptCase]:
    """The cases of all prompts, rendered. `lines`: a file whose cases are for each of them, in place of testData.

    Raises ValidationErrors with every place that is wrong."""
    read = _read(lines) if lines else None
    cases: list[PromptCase] = []
    faults: list[str] = []
    for prompt in prompts:
        place = folder / f"{prompt.name}.prompt.yml"
        for where, line in read if read is not None else _own(prompt, place):
            try:
                cases.append(_case(prompt, line))
            except SluiceError as error:
                faults.append(f"{where}: {error.message}")
    if faults:
        raise ValidationErrors("the cases", faults, remedy=_REMEDY)
    return cases


def _own(prompt: Prompt, place: Path) -> Iterator[tuple[str, CaseLine]]:
    variables = {variable.name for variable in prompt.variables}
    for number, data in enumerate(prompt.test_data, 1):
        values = {name: value for name, value in data.items() if name in variables}
        expected = data.get(EXPECTED) if EXPECTED not in variables else None
        answers = tuple(expected) if isinstance(expected, list) else expected
        yield f"{place}: testData {number}", CaseLine(id=str(number), vars=values, expect=CaseExpect(expected=answers))


def _read(path: Path) -> list[tuple[str, CaseLine]]:
    text, unreadable = read_text(path)
    found: list[tuple[str, CaseLine]] = []
    faults = [str(fault) for fault in unreadable]
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            case = CaseLine.model_validate_json(line, strict=True)
        except ValidationError as error:
            faults += [f"{where}: {_describe(dict(fault))}" for fault in error.errors()]
            continue
        if (before := seen.setdefault(case.id, number)) != number:
            faults.append(f"{where}: id {case.id!r} is already used in line {before}")
        faults += [f"{where}: {what}" for what in _wrong(case.expect)]
        found.append((where, case))
    if not found and not faults:
        faults.append(f"{path}: no cases")
    if faults:
        raise ValidationErrors(str(path), faults, remedy=_REMEDY)
    return found


def _describe(fault: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = CaseExpect.model_fields if fault["loc"][0] == "expect" else CaseLine.model_fields
        return f"unknown key {place!r}{nearest(str(fault['loc'][-1]), list(known))}"
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])


def _wrong(expect: CaseExpect) -> list[str]:
    plain = _plain(expect)
    faults = faults_of(plain) if plain else []
    if any(not text.strip() for text in _answers(expect)):
        faults.append("expect.expected: an answer is blank")
    return faults


def _plain(expect: CaseExpect) -> ExpectedBehaviour | None:
    """What a row would hold, None when it is nothing."""
    plain = ExpectedBehaviour(**expect.model_dump(exclude={"expected"}))
    return None if plain == ExpectedBehaviour() else plain


def _answers(expect: CaseExpect) -> tuple[str, ...]:
    found = expect.expected
    return (found,) if isinstance(found, str) else found or ()


def _case(prompt: Prompt, line: CaseLine) -> PromptCase:
    decline = str(line.vars.get(_DECLINE, ""))
    declines = line.expect.expected == ()
    if declines and not decline:
        raise SluiceError(f"it expects a decline, but has no value for the variable {_DECLINE!r}")
    row = Row(
        id=f"{prompt.name}/{line.id}",
        question=json.dumps(line.vars, ensure_ascii=False),
        answers=_answers(line.expect),
        doc_ids=(),
        expect=_plain(line.expect),
    )
    return PromptCase(prompt, row, prompt.render(**line.vars), declines, decline)
