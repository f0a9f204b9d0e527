"""Test cases of a prompt: its testData, or lines of {id, vars, expect}, where an empty `expected` means a decline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, describe_faults, nearest
from sluice.core.text import normalise
from sluice.data.row_rules import faults_of
from sluice.data.rows import ExpectedBehaviour, Row
from sluice.data.scanning import read_text
from sluice.prompts import Prompt, load_prompt
from sluice.prompts.prompt import EXPECTED, SUFFIX


class LabelledCase(Settings):
    id: str


C = TypeVar("C", bound=LabelledCase)


def read_cases(
    path: Path, model: type[C], *, remedy: str, wrong: Callable[[C], Iterable[str]] = lambda _: ()
) -> list[tuple[str, C]]:
    """Read a file of labelled cases and return each with its `file:line`."""
    text, unreadable = read_text(path)
    faults = [str(fault) for fault in unreadable]
    found: list[tuple[str, C]] = []
    numbers: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            case = model.model_validate_json(line, strict=True)
        except ValidationError as error:
            faults += describe_faults(path, error, {(): number}, model)
            continue
        if (before := numbers.setdefault(case.id, number)) != number:
            faults.append(f"{where}: id {case.id!r} is already used in line {before}")
        faults += [f"{where}: {what}" for what in wrong(case)]
        found.append((where, case))
    if not found and not faults:
        faults.append(f"{path}: no cases")
    if faults:
        raise ValidationErrors(str(path), faults, remedy=remedy)
    return found


_REMEDY = "fix what is named; engine/docs/reference/evaluation.md says what a case holds"
_DECLINE = "decline"  # the variable that holds the wording of a decline


class CaseExpect(ExpectedBehaviour):
    expected: str | tuple[str, ...] | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.expected,) if isinstance(self.expected, str) else self.expected or ()

    @property
    def behaviour(self) -> ExpectedBehaviour | None:
        plain = ExpectedBehaviour(**self.model_dump(exclude={"expected"}))
        return None if plain == ExpectedBehaviour() else plain


class CaseLine(LabelledCase):
    vars: dict[str, Any]
    expect: CaseExpect = CaseExpect()


@dataclass(frozen=True)
class PromptCase:
    """A rendered case. `row` is for the metrics; `declines` if it expects the variable `decline`."""

    prompt: Prompt
    row: Row
    messages: Sequence[Mapping[str, str]]
    declines: bool
    decline: str

    @property
    def checks(self) -> bool:
        return bool(self.row.answers or self.row.expect or self.declines)

    def declined(self, text: str) -> bool:
        return bool(self.decline) and normalise(text) == normalise(self.decline)


def cases_of(prompts: Sequence[Prompt], folder: Path, lines: Path | None = None) -> list[PromptCase]:
    """Render the cases of all prompts, or those of a file for each. Raises ValidationErrors with every fault."""

    def wrong(line: CaseLine) -> list[str]:
        behaviour = line.expect.behaviour
        found = faults_of(behaviour) if behaviour else []
        blank = any(not text.strip() for text in line.expect.answers)
        return [*found, "expect.expected: an answer is blank"] if blank else found

    read = read_cases(lines, CaseLine, remedy=_REMEDY, wrong=wrong) if lines else None
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


def find_prompt(folder: Path, name: str) -> Prompt:
    known = [path.name.removesuffix(SUFFIX) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    if name not in known:
        raise SluiceError(
            f"no prompt {name!r}{nearest(name, known)}", remedy=f"there are: {', '.join(known) or 'none'}"
        )
    return load_prompt(folder / f"{name}{SUFFIX}")


def preview(prompt: Prompt, pairs: Iterable[str]) -> list[dict[str, str]]:
    """Render a prompt with `variable=value` pairs; variables without a value stay as written."""
    values = {variable.name: f"{{{{{variable.name}}}}}" for variable in prompt.variables}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise SluiceError(f"{pair!r}: write variable=value")
        values[name] = text
    texts = tuple(variable.model_copy(update={"type": "string"}) for variable in prompt.variables)
    return prompt.model_copy(update={"variables": texts}).render(**values)
