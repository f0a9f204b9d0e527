"""Prompt files: reads `prompts/<name>.prompt.yml`, and checks that names, roles, variables and test data match.

The consistency checks read the raw document and skip malformed parts, which are reported already. So a wrong number
hides no wrong name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Lines, Place, describe_faults, nearest, parse_yaml, place_of, read_yaml
from sluice.prompts.prompt import EXPECTED, PLACEHOLDER, Prompt, Variable

SUFFIX = ".prompt.yml"
_REMEDY = "fix what is named; the keys are listed in engine/docs/reference/prompts.md"


def load_prompt(path: Path, *, roles: Collection[str] = ()) -> Prompt:
    """`roles`: the model roles that exist; empty means they are not checked here."""
    prompt, faults = _validated(path, *read_yaml(path), roles)
    if prompt is None:
        raise ValidationErrors(str(path), faults, remedy=_REMEDY)
    return prompt


def load_prompts(folder: Path, *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    """All prompts of a folder by name; faults of all files are raised together, and so is an empty folder."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise ValidationErrors(str(folder), [f"{folder}: no *{SUFFIX} file"], remedy="restore the files with git")
    return _load(str(folder), {path: partial(read_yaml, path) for path in paths}, roles)


def parse_prompts(where: str, contents: Mapping[str, bytes], *, roles: Collection[str] = ()) -> dict[str, Prompt]:
    read = {PurePath(place): partial(parse_yaml, content, place) for place, content in contents.items()}
    return _load(where, read, roles)


def _load(
    where: str, files: Mapping[PurePath, Callable[[], tuple[Any, Lines]]], roles: Collection[str]
) -> dict[str, Prompt]:
    prompts: dict[str, Prompt] = {}
    faults: list[str] = []
    owners: dict[str, PurePath] = {}
    for path, read in files.items():
        try:
            document, lines = read()
        except SluiceError as error:
            faults.append(error.message)
            continue
        prompt, found = _validated(path, document, lines, roles)
        faults += found
        name = document.get("name") if isinstance(document, dict) else None
        if isinstance(name, str) and owners.setdefault(name, path) != path:
            faults.append(f"{path}:{lines.get(('name',), 1)}: name: {name!r} is the name of {owners[name]} too")
        if prompt is not None:
            prompts[prompt.name] = prompt
    if faults:
        raise ValidationErrors(where, faults, remedy=_REMEDY)
    return prompts


def _validated(path: PurePath, document: Any, lines: Lines, roles: Collection[str]) -> tuple[Prompt | None, list[str]]:
    document = document if document is not None else {}
    prompt, faults = None, []
    try:
        prompt = Prompt.model_validate(document)
    except ValidationError as error:
        faults = describe_faults(path, error, lines, Prompt)
    if isinstance(document, dict):
        findings = [*_names(path, document, roles), *_variables(document), *_test_data(document)]
        faults += [f"{place_of(path, place, lines)}: {what}" for place, what in findings]
    return (None if faults else prompt), faults


Finding = tuple[Place, str]  # where it is, and what is wrong


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
    declared: dict[str, Variable] = {}
    for entry in document.get("variables") or []:
        with suppress(ValidationError):
            variable = Variable.model_validate(entry)
            declared[variable.name] = variable
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
