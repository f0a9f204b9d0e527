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

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.expectations import faults_of
from sluice.data.rows import ExpectedBehaviour, Row
from sluice.evaluation.answer_text import normalise
from sluice.extras.prompt_tests.case_files import LabelledCase, read_cases
from sluice.prompts import Prompt
from sluice.prompts.prompt import EXPECTED

_REMEDY = "fix what is named; engine/docs/reference/evaluation.md says what a case holds"
_DECLINE = "decline"  # the variable that holds the wording of a decline


class CaseExpect(ExpectedBehaviour):
    """`expected`: None where nothing is said about the right answer."""

    expected: str | tuple[str, ...] | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.expected,) if isinstance(self.expected, str) else self.expected or ()

    @property
    def behaviour(self) -> ExpectedBehaviour | None:
        """What a row would hold, None when it is nothing."""
        plain = ExpectedBehaviour(**self.model_dump(exclude={"expected"}))
        return None if plain == ExpectedBehaviour() else plain


class CaseLine(LabelledCase):
    """One line of a file of cases."""

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
    read = read_cases(lines, CaseLine, remedy=_REMEDY, wrong=_wrong) if lines else None
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


def _wrong(line: CaseLine) -> list[str]:
    behaviour = line.expect.behaviour
    faults = faults_of(behaviour) if behaviour else []
    if any(not text.strip() for text in line.expect.answers):
        faults.append("expect.expected: an answer is blank")
    return faults


def _case(prompt: Prompt, line: CaseLine) -> PromptCase:
    decline = str(line.vars.get(_DECLINE, ""))
    declines = line.expect.expected == ()
    if declines and not decline:
        raise SluiceError(f"it expects a decline, but has no value for the variable {_DECLINE!r}")
    row = Row(
        id=f"{prompt.name}/{line.id}",
        question=json.dumps(line.vars, ensure_ascii=False),
        answers=line.expect.answers,
        doc_ids=(),
        expect=line.expect.behaviour,
    )
    return PromptCase(prompt, row, prompt.render(**line.vars), declines, decline)
