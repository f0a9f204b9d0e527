"""Reads files of labelled cases: JSON lines, each an object with an `id`; all that is wrong is said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from sluice.core.errors import ValidationErrors
from sluice.core.settings import Settings, describe_faults
from sluice.data.scanning import read_text


class LabelledCase(Settings):
    """What every case of a file has."""

    id: str


C = TypeVar("C", bound=LabelledCase)


def read_cases(
    path: Path, model: type[C], *, remedy: str, wrong: Callable[[C], Iterable[str]] = lambda _: ()
) -> list[tuple[str, C]]:
    """Reads a file of labelled cases and returns (`file:line`, case) of each line."""
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
